import type { ConditionType } from "./condition-scope.ts";

export const listOf = (item: ConditionType): ConditionType => `list(${item})`;
export const isList = (type: ConditionType): boolean => type.startsWith("list(");
export const itemOf = (list: ConditionType): ConditionType => list.slice("list(".length, -1);

const isNumber = (type: ConditionType) => type === "int" || type === "double";

/** True where `==` between the two can ever be true. */
function comparable(a: ConditionType, b: ConditionType): boolean {
  if (isList(a) && isList(b)) return comparable(itemOf(a), itemOf(b));
  return a === b || a === "dyn" || b === "dyn" || a === "error" || b === "error" || (isNumber(a) && isNumber(b));
}

/** The type that both fit, or undefined. */
export function join(a: ConditionType, b: ConditionType): ConditionType | undefined {
  if (a === b || b === "dyn" || b === "error") return a;
  if (a === "dyn" || a === "error") return b;
  if (!isList(a) || !isList(b)) return undefined;
  const item = join(itemOf(a), itemOf(b));
  return item === undefined ? undefined : listOf(item);
}

const ordered: ReadonlySet<string> = new Set(["int", "double", "string", "timestamp", "duration"]);

/** Result by operator and operand types, `a b`; equality, order, `in`, index and logic have rules of their own. */
const arithmetic: Readonly<Record<string, Readonly<Record<string, ConditionType>>>> = {
  "_+_": {
    "int int": "int",
    "double double": "double",
    "string string": "string",
    "timestamp duration": "timestamp",
    "duration timestamp": "timestamp",
    "duration duration": "duration",
  },
  "_-_": {
    "int int": "int",
    "double double": "double",
    "timestamp timestamp": "duration",
    "timestamp duration": "timestamp",
    "duration duration": "duration",
  },
  "_*_": { "int int": "int", "double double": "double" },
  "_/_": { "int int": "int", "double double": "double" },
  "_%_": { "int int": "int" },
};

/** The result of an operator between two values, or undefined where it has no meaning for them. */
export function binaryType(operator: string, a: ConditionType, b: ConditionType): ConditionType | undefined {
  if (operator === "_==_" || operator === "_!=_") return comparable(a, b) ? "bool" : undefined;
  if (operator === "@in") return isList(b) && comparable(a, itemOf(b)) ? "bool" : undefined;
  if (["_<_", "_<=_", "_>_", "_>=_"].includes(operator)) {
    return ordered.has(a) && ordered.has(b) && comparable(a, b) ? "bool" : undefined;
  }
  if (operator === "_+_" && isList(a) && isList(b)) return join(a, b);
  return arithmetic[operator]?.[`${a} ${b}`];
}

/** Functions by name: what they are called on (`list` and `string` by kind), what they take, what they give. */
export interface FunctionType {
  readonly on?: readonly string[];
  readonly takes: readonly (readonly string[])[];
  /** Arguments that may be left out, from the end. */
  readonly optional?: number;
  readonly gives: ConditionType;
  /** Its only argument must be written out, so that it can be checked now. */
  readonly literal?: true;
}

const onString = (literal?: true): FunctionType => ({
  on: ["string"],
  takes: [["string"]],
  gives: "bool",
  ...(literal ? { literal } : {}),
});
const onTime: FunctionType = { on: ["timestamp"], takes: [["string"]], optional: 1, gives: "int", literal: true };

export const functions: ReadonlyMap<string, FunctionType> = new Map([
  ["startsWith", onString()],
  ["endsWith", onString()],
  ["contains", onString()],
  ["matches", onString(true)],
  ["size", { takes: [["string", "list"]], gives: "int" }],
  ["timestamp", { takes: [["string"]], gives: "timestamp", literal: true }],
  ["duration", { takes: [["string"]], gives: "duration", literal: true }],
  ["int", { takes: [["int", "double", "string", "timestamp"]], gives: "int" }],
  ["double", { takes: [["int", "double", "string"]], gives: "double" }],
  ["string", { takes: [["string", "int", "double", "bool", "timestamp", "duration"]], gives: "string" }],
  ...["getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"].map(
    (name) => [name, onTime] as const,
  ),
  ...["getHours", "getMinutes", "getSeconds", "getMilliseconds"].map((name) => [name, onTime] as const),
]);

/** True where a value of the type may stand where one of the kinds is wanted. */
export function fits(type: ConditionType, kinds: readonly string[]): boolean {
  return type === "error" || type === "dyn" || kinds.includes(type) || (isList(type) && kinds.includes("list"));
}

/** `a string`, `an int`. */
export const article = (type: ConditionType): string => (/^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`);

/** What to do about an operator between values it has no meaning for. */
export function operatorHelp(operator: string, a: ConditionType, b: ConditionType): string | undefined {
  if (operator === "@in" && b === "string") return "in looks into lists; use contains for text";
  if (a === "bool" || b === "bool") return "compare it with true or false, or leave the comparison out";
  if ([a, b].includes("string") && [a, b].includes("int"))
    return "one of them is text: take its quotes off, or convert it by int() or string()";
  return "both sides must have one type";
}

/** How a function is called: `string.startsWith(string)`. */
export function signature(name: string, known: FunctionType): string {
  const takes = known.takes.map((kinds) => kinds.join("|")).join(", ");
  const inner = known.optional ? `[${takes}]` : takes;
  return known.on ? `${known.on.join("|")}.${name}(${inner})` : `${name}(${inner})`;
}
