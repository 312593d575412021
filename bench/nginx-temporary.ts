/** Where an NGINX that is not root's keeps what it spools, as lines of its `http` block. */
export function temporaryPaths(directory: string): string {
  const names = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return names.map((name) => `${name}_temp_path ${directory}/${name};`).join("\n  ");
}
