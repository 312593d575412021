/** Prints the steps of a story: aligned, one line a step, its record id at the end. Colour on a terminal only. */
export interface Teller {
  title(text: string): void;
  step(step: Step): void;
  line(text?: string): void;
}

export interface Step {
  /** Who acts: `job`, `person`, `gitlab`, `thief`. */
  readonly who: string;
  readonly what: string;
  /** HTTP status, where the step is a call. */
  readonly status?: number;
  readonly note?: string;
  readonly record?: string | undefined;
}

interface Terminal {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

export function createTeller(out: Terminal, env: Readonly<Record<string, string | undefined>>): Teller {
  const colour = out.isTTY === true && env.NO_COLOR === undefined;
  const paint = (code: number, text: string) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  let number = 0;
  return {
    title: (text) => out.write(`${paint(1, text)}\n\n`),
    line: (text = "") => out.write(`${text}\n`),
    step({ who, what, status, note = "", record = "" }) {
      number++;
      const shown = status === undefined ? "   " : paint(status < 400 ? 32 : 31, String(status));
      const action =
        status === undefined
          ? `${what}${note === "" ? "" : `  ${note}`}`.padEnd(73)
          : `${what.padEnd(38)} ${shown}  ${note.padEnd(30)}`;
      out.write(`${String(number).padStart(2)}  ${paint(36, who.padEnd(9))} ${action} ${paint(2, record)}`.trimEnd());
      out.write("\n");
    },
  };
}
