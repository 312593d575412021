import { spawnSync } from "node:child_process";
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type DescFile, fromBinary } from "@bufbuild/protobuf";
import {
  type DescriptorProto,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";
import { loadSync } from "@grpc/proto-loader";
import { describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const sources = globSync("**/*.proto", { cwd: join(root, "proto") }).toSorted();
const originals = join(root, "node_modules/@grpc/grpc-js-xds/deps");
const includeDirs = ["envoy-api", "googleapis", "xds", "protoc-gen-validate"].map((name) => join(originals, name));

/** Sources that have no original there: written from their specifications, and met by real software in other tests. */
const withoutOriginal = ["grpc/health/v1/health.proto", "workload.proto"];

/** Fields newer than the originals there. */
const newer = [
  "envoy.config.rbac.v3.Permission.sourced_metadata",
  "envoy.config.rbac.v3.Principal.sourced_metadata",
  "envoy.config.rbac.v3.SourcedMetadata.metadata_matcher",
  "envoy.config.rbac.v3.SourcedMetadata.metadata_source",
  "envoy.service.auth.v3.CheckResponse.error_response",
];

const generated = new Map<string, DescFile>();
for (const source of sources) {
  const module = await import(join(root, "src/proto", source.replace(/\.proto$/, "_pb.ts")));
  const name = Object.keys(module).find((key) => key.startsWith("file_")) ?? "";
  generated.set(source, module[name] as DescFile);
}

test("src/proto is what proto says; `sh scripts/generate-proto.sh` makes it so", () => {
  const folder = mkdtempSync(join(tmpdir(), "wayleave-proto-test-"));
  const { status, stderr } = spawnSync("sh", [join(root, "scripts/generate-proto.sh"), folder], { encoding: "utf8" });
  const files = (at: string) =>
    Object.fromEntries(
      globSync("**/*.ts", { cwd: at })
        .toSorted()
        .map((path) => [path, readFileSync(join(at, path), "utf8")]),
    );
  const made = files(folder);
  rmSync(folder, { recursive: true });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(Object.keys(made).length).toBe(sources.length);
  expect(files(join(root, "src/proto"))).toEqual(made);
}, 30_000);

test("only what is known to have no original has none", () => {
  expect(sources.length).toBeGreaterThan(10);
  expect(sources.filter((source) => original(source) === undefined)).toEqual(withoutOriginal);
});

test("no enum is generated, since Node cannot strip its type", () => {
  for (const file of generated.values()) expect(file.enums.length + nestedEnums(file), file.name).toBe(0);
});

describe.each(sources.filter((source) => !withoutOriginal.includes(source)))("%s", (source) => {
  const theirs = loadSync(original(source) ?? "", { keepCase: true, includeDirs });

  test("has the original's fields, by name, number, type, label and oneof", () => {
    const ours = generated.get(source)?.proto;
    const files = Object.values(theirs).find(
      (definition) => "fileDescriptorProtos" in definition,
    )?.fileDescriptorProtos;
    const known = (files as readonly Uint8Array[]).map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
    const theirFields = new Set(known.flatMap(fieldsOfFile));
    const ourFields = ours === undefined ? [] : fieldsOfFile(ours);
    expect(theirFields.size).toBeGreaterThan(0);
    expect((ours?.messageType.length ?? 0) + (ours?.service.length ?? 0)).toBeGreaterThan(0);
    const wanted = ourFields.filter((field) => !newer.some((name) => field.startsWith(`${name} `)));
    expect(wanted.filter((field) => !theirFields.has(field))).toEqual([]);
  });

  test("has the original's methods", () => {
    const services = generated.get(source)?.services ?? [];
    for (const service of services) {
      for (const method of service.methods) {
        const definition = theirs[service.typeName] as unknown as Readonly<Record<string, object>>;
        expect(definition[method.name], method.name).toMatchObject({
          path: `/${service.typeName}/${method.name}`,
          requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
          responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
          requestType: { type: { name: method.input.name } },
          responseType: { type: { name: method.output.name } },
        });
      }
    }
  });
});

function original(source: string): string | undefined {
  return includeDirs.map((folder) => join(folder, source)).find((path) => existsSync(path));
}

/** One line for each field of a file; an enum is an int32, which is the same on the wire. */
function fieldsOfFile(file: FileDescriptorProto): string[] {
  return file.messageType.flatMap((message) => fieldsOf(within(file.package, message.name), message));
}

function fieldsOf(message: string, { field, nestedType, oneofDecl }: DescriptorProto): string[] {
  const maps = nestedType.filter(({ options }) => options?.mapEntry).map(({ name }) => name);
  const own = field.map((described) => {
    const { name, number, label, type, typeName } = described;
    const kind = type === FieldDescriptorProto_Type.ENUM ? FieldDescriptorProto_Type.INT32 : type;
    const simple = typeName.split(".").at(-1) ?? "";
    const of = kind !== FieldDescriptorProto_Type.MESSAGE ? "" : maps.includes(simple) ? "map" : simple;
    // Unset, it would read as its default: the first.
    const oneof = Object.hasOwn(described, "oneofIndex") ? oneofDecl[described.oneofIndex]?.name : "none";
    return `${message}.${name} = ${number} ${FieldDescriptorProto_Label[label]} ${FieldDescriptorProto_Type[kind]} ${of} in ${oneof}`;
  });
  // protobufjs names the entries of a map otherwise.
  const inside = (name: string) =>
    maps.includes(name)
      ? name
          .replace(/Entry$/, "")
          .replaceAll("_", "")
          .toLowerCase()
      : name;
  return [...own, ...nestedType.flatMap((inner) => fieldsOf(`${message}.${inside(inner.name)}`, inner))];
}

function nestedEnums(file: DescFile): number {
  const inside = (message: { nestedEnums: readonly unknown[]; nestedMessages: readonly unknown[] }): number =>
    message.nestedEnums.length + message.nestedMessages.reduce<number>((sum, inner) => sum + inside(inner as never), 0);
  return file.messages.reduce((sum, message) => sum + inside(message), 0);
}

function within(scope: string, name: string): string {
  return scope === "" ? name : `${scope}.${name}`;
}
