import { describe, expect, test } from "vitest";
import { eventVariableProblem, parsePointer } from "./event-variables.ts";

describe("a pipeline's variable that a message may fill", () => {
  test.each([
    ...[
      "IMAGE",
      "TAG",
      "IMAGE_TAG",
      "A",
      "V1",
      "_X",
      "CIRCLE",
      "GITTER",
      "PATHS",
      "CARGO",
      "GOAL",
      "USER_ID",
      "HOMEPAGE",
    ],
    ...["ARTIFACT_NAME", "CACHE_KEY", "LESSON", "CCX", "TARGET_HOST", "LDAP", "NODE", "TRIGGERED_BY", "ENVIRONMENT"],
    "A".repeat(64),
  ])("%s", (name) => {
    expect(eventVariableProblem(name)).toBeUndefined();
  });

  test.each(["", "a", "image", "1A", "A-B", "A.B", "A B", "ÄB", "A\n", "A=B", "A".repeat(65), "_", "__"])(
    "is not called %j",
    (name) => {
      expect(eventVariableProblem(name)).toMatch(/^is no/);
    },
  );

  test.each([
    ...["CI", "CI_JOB_TOKEN", "CI_COMMIT_REF_NAME", "GITLAB_USER_ID", "GITLAB", "TRIGGER_PAYLOAD", "CUSTOM_ENV_X"],
    ...["FF_NETWORK_PER_BUILD", "RUNNER_SCRIPT_TIMEOUT", "SECURE_ANALYZERS_PREFIX", "GET_SOURCES_ATTEMPTS"],
    ...["BUILDKITE", "BUILDKITE_COMMAND", "BUILDKITEX", "WAYLEAVE_CAUSE", "WAYLEAVE", "SPIFFE_ENDPOINT_SOCKET"],
    ...["GIT_STRATEGY", "GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "SSH_AUTH_SOCK", "GH_TOKEN", "GITHUB_TOKEN"],
    ...["DOCKER_AUTH_CONFIG", "DOCKER_HOST", "KUBECONFIG", "KUBE_NAMESPACE", "TF_VAR_X", "HELM_DRIVER"],
    ...["AWS_ACCESS_KEY_ID", "AZURE_CLIENT_ID", "GOOGLE_APPLICATION_CREDENTIALS", "VAULT_TOKEN", "VAULT_ADDR"],
    ...["LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "GCONV_PATH"],
    ...[
      "PATH",
      "ENV",
      "BASH_ENV",
      "BASHOPTS",
      "ZDOTDIR",
      "SHELL",
      "SHELLOPTS",
      "IFS",
      "PS4",
      "PROMPT_COMMAND",
      "CDPATH",
    ],
    ...["HOME", "TMPDIR", "PWD", "USER", "LC_ALL", "TZ", "EDITOR", "PAGER", "LESSOPEN"],
    ...["NODE_OPTIONS", "NODE_PATH", "NPM_CONFIG_REGISTRY", "PYTHONPATH", "PYTHONSTARTUP", "PIP_INDEX_URL", "PERL5OPT"],
    ...["RUBYOPT", "GEM_HOME", "BUNDLE_GEMFILE", "PHPRC", "COMPOSER_AUTH", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS"],
    ...["JDK_JAVA_OPTIONS", "CLASSPATH", "MAVEN_OPTS", "GRADLE_OPTS", "GOFLAGS", "GOPROXY", "GO_X", "CGO_LDFLAGS"],
    ...[
      "CARGO_HOME",
      "RUSTC_WRAPPER",
      "RUSTFLAGS",
      "MAKEFLAGS",
      "CC",
      "LDFLAGS",
      "HTTP_PROXY",
      "HTTPS_PROXY",
      "NO_PROXY",
    ],
    ...["SSL_CERT_FILE", "SSLKEYLOGFILE", "OPENSSL_CONF", "CURL_CA_BUNDLE", "DOTNET_STARTUP_HOOKS", "TERM"],
  ])("is never %s, which something reads by itself", (name) => {
    expect(eventVariableProblem(name)).toMatch(/^cannot come from a message: ./);
  });
});

describe("a pointer into a message", () => {
  test.each(["/a", "/image/name", "/tags/0", "/a~1b", "/m~0n", "/", "//", "/ ", '/a"b', "/ä"])("%j", (text) => {
    expect(parsePointer(text)).toEqual({ ok: true, value: text });
  });

  test.each([
    ["", 0, "name a member: /image/name"],
    ["image", 0, "write /image"],
    ["image.name", 0, "write /image/name"],
    ["$.image.name", 0, "write /image/name"],
    ["#/image", 0, "begin it with /: /image/name"],
    ["main branch", 0, "begin it with /: /image/name"],
    ["/a~", 2, "write ~0 for ~, and ~1 for / in a name"],
    ["/a~2", 2, "write ~0 for ~, and ~1 for / in a name"],
    ["/a\u202eb", 2, "leave it out"],
    ["/a\u0000", 2, "leave it out"],
    [`/${"a".repeat(256)}`, 0, "at most 256 characters"],
  ])("%j is refused", (text, at, help) => {
    expect(parsePointer(text)).toMatchObject({ ok: false, problem: { code: "pointer_invalid", at, help } });
  });
});
