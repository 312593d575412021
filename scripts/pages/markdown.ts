/** First line of every generated page. */
export const generatedNote = "<!-- Made by `npm run generate`. Do not edit. -->\n";

/** Text as a table's cell. A pipe would end the cell; what looks like a tag would vanish, except in code, where it is shown as it is. */
export function cell(text: string): string {
  return text
    .replaceAll("|", "\\|")
    .split("`")
    .map((part, at) => (at % 2 === 0 ? part.replaceAll(/<(?=[A-Za-z])/g, "&lt;") : part))
    .join("`");
}

/** A table; the rows' cells are Markdown already. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |\n`;
  return `${line(head)}|${head.map(() => "---|").join("")}\n${rows.map(line).join("")}`;
}
