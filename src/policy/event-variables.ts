import { type Parsed, parsed, refused } from "./findings.ts";

interface Reserved {
  readonly form: RegExp;
  /** Who reads such a variable by itself. */
  readonly why: string;
}

/** Whoever sets one of these decides what runs, where, or with which credential: no message may. */
const reserved: readonly Reserved[] = [
  {
    form: /^(CI|CI_.*|GITLAB.*|TRIGGER|TRIGGER_.*|CUSTOM_ENV_.*)$/,
    why: "GitLab sets it, and jobs take it for its word",
  },
  {
    form: /^(FF_.*|RUNNER_.*|(GET_SOURCES|RESTORE_CACHE|ARTIFACT_DOWNLOAD|EXECUTOR_JOB_SECTION)_ATTEMPTS|(ARTIFACT|CACHE)_COMPRESSION_.*|CACHE_REQUEST_TIMEOUT|TRANSFER_METER_FREQUENCY)$/,
    why: "it steers the runner",
  },
  { form: /^(SECURE|SAST|DAST)_.*$/, why: "it chooses the images that templates of GitLab run" },
  { form: /^BUILDKITE.*$/, why: "Buildkite sets it, and its agent obeys it" },
  { form: /^(WAYLEAVE.*|SPIFFE_.*)$/, why: "it is Wayleave's own" },
  { form: /^(GIT_.*|GH_.*|GITHUB_.*|SSH_.*)$/, why: "git and ssh run commands it names" },
  { form: /^(DOCKER_.*|BUILDAH_.*|KUBE.*|HELM_.*|TF_.*|ANSIBLE_.*)$/, why: "it chooses machines and credentials" },
  {
    form: /^(AWS_.*|AZURE_.*|ARM_.*|GOOGLE_.*|CLOUDSDK_.*|VAULT_.*|OIDC_.*)$/,
    why: "it chooses a cloud's credentials",
  },
  { form: /^(LD_.*|DYLD_.*|GCONV_PATH|GLIBC_.*|MALLOC_.*|LOCPATH)$/, why: "the loader runs code it names" },
  {
    form: /^(PATH|CDPATH|ENV|BASH.*|ZDOTDIR|SHELL|SHELLOPTS|IFS|PS[0-9]|PROMPT_COMMAND|GLOBIGNORE|POSIXLY_CORRECT|INPUTRC)$/,
    why: "the shell reads it before the script does",
  },
  {
    form: /^(HOME|USER|LOGNAME|PWD|OLDPWD|TMP|TEMP|TMPDIR|TERM|TERMINFO.*|LANG|LC_.*|TZ|HOSTNAME|XDG_.*)$/,
    why: "every program reads it",
  },
  {
    form: /^(EDITOR|VISUAL|PAGER|MANPAGER|BROWSER|LESS|LESSOPEN|LESSCLOSE)$/,
    why: "programs run the command it names",
  },
  {
    form: /^(NODE_.*|NPM_.*|YARN_.*|PNPM_.*|BUN_.*|DENO_.*|PYTHON.*|PIP_.*|UV_.*|POETRY_.*|VIRTUAL_ENV|CONDA_.*)$/,
    why: "an interpreter or its installer obeys it",
  },
  {
    form: /^(PERL(5|_|IO).*|RUBY(OPT|LIB|_.*)|GEM_.*|BUNDLE_.*|PHP(RC|_.*)|COMPOSER_.*|LUA_.*|R_(HOME|LIBS|PROFILE|ENVIRON).*)$/,
    why: "an interpreter or its installer obeys it",
  },
  {
    form: /^(JAVA_.*|_JAVA_OPTIONS|JDK_.*|CLASSPATH|MAVEN_.*|MVN_.*|GRADLE_.*|SBT_.*|ANT_.*|DOTNET_.*|NUGET_.*|CORECLR_.*)$/,
    why: "a runtime or its build tool obeys it",
  },
  {
    form: /^(GO_.*|GO(FLAGS|PATH|ROOT|PROXY|PRIVATE|SUMDB|NOSUMDB|NOPROXY|INSECURE|OS|ARCH|TOOLCHAIN|ENV|BIN|CACHE|MODCACHE|DEBUG|WORK|VCS|TMPDIR)|CGO_.*|CARGO_.*|RUST(FLAGS|C|C_.*|UP_.*|_.*)|CC|CXX|CPP|(C|CXX|CPP|LD|M|MAKE)FLAGS|MAKE|MAKEFILES|CMAKE_.*|PKG_CONFIG.*)$/,
    why: "a compiler or its build tool obeys it",
  },
  {
    form: /^((HTTP|HTTPS|ALL|NO|FTP)_PROXY|SSL_.*|SSLKEYLOGFILE|OPENSSL_.*|CURL_.*|REQUESTS_CA_BUNDLE|NIX_.*)$/,
    why: "it chooses whom programs talk to and trust",
  },
];

const maxName = 64;

/** Why a pipeline's variable of this name cannot come from a message, as the end of a sentence; undefined where it can. */
export function eventVariableProblem(name: string): string | undefined {
  if (name.length > maxName || !/^[A-Z_][A-Z0-9_]*$/.test(name)) {
    return `is not a name of capitals, digits and _, at most ${maxName}`;
  }
  // Only underscores: `_` is the shell's, and none says what it holds.
  if (/^_+$/.test(name)) return "is no name: the shell sets _ by itself";
  const found = reserved.find(({ form }) => form.test(name));
  return found && `cannot come from a message: ${found.why}`;
}

const maxPointer = 256;

/** A JSON Pointer to a part of the message, never to all of it. RFC 6901 §3. Codes: `pointer_invalid`. */
export function parsePointer(text: string): Parsed<string> {
  const refuse = (message: string, at: number, length: number, help: string) =>
    refused("pointer_invalid", message, at, length, help);
  if (text === "") return refuse("this points at the whole message", 0, 1, "name a member: /image/name");
  if (!text.startsWith("/")) {
    const dotted = /^\$?\.?[\w-]+(\.[\w-]+)*$/.test(text);
    const help = dotted ? `write /${text.replace(/^\$?\.?/, "").replaceAll(".", "/")}` : "begin it with /: /image/name";
    return refuse("a JSON Pointer begins with /", 0, text.length, help);
  }
  const stray = /~(?![01])/.exec(text);
  if (stray) return refuse("a ~ stands alone", stray.index, 1, "write ~0 for ~, and ~1 for / in a name");
  // Invisible and direction-changing characters would let a pointer look like another one.
  const hidden = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.exec(text);
  if (hidden) return refuse("an invisible character", hidden.index, 1, "leave it out");
  if (text.length <= maxPointer) return parsed(text);
  return refuse("the pointer is too long", 0, text.length, `at most ${maxPointer} characters`);
}
