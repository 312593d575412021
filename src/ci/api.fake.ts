/** An answer of a fake API: JSON with 200, or a whole response. `undefined` is 404 as GitLab words it. */
export type FakeAnswer = unknown | (() => Response | Promise<Response>);

/** A `fetch` for a CI's API over a table of paths; it records what it is asked and with which headers. */
export function fakeApi(baseUrl: string, answers: Record<string, FakeAnswer>) {
  const asked: { readonly path: string; readonly headers: Headers }[] = [];
  const fetchIt: typeof fetch = async (input, init) => {
    const url = String(input);
    if (!url.startsWith(`${baseUrl}/`)) throw new TypeError(`outside the API: ${url}`);
    if (init?.redirect !== "manual" || !init.signal) throw new TypeError("no redirects, and never without a timeout");
    const path = url.slice(baseUrl.length);
    asked.push({ path, headers: new Headers(init.headers) });
    const answer = answers[path];
    if (typeof answer === "function") return (await answer()) as Response;
    if (answer === undefined) return Response.json({ message: "404 Not found" }, { status: 404 });
    return Response.json(answer);
  };
  return { fetch: fetchIt, asked };
}
