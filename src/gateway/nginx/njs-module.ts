const head = `import crypto from "crypto";

const irrelevant = /^(accept|accept-encoding|accept-language|cache-control|content-length|content-type|cookie|if-[a-z-]+|origin|pragma|range|referer|traceparent|tracestate|user-agent|x-request-id)$/;

function sha256(parts) {
    const hash = crypto.createHash("sha256");
    parts.forEach((part) => hash.update(part.length + ":" + part));
    return hash.digest("hex");
}

/** Target, method, host, URI and every header line that matters. */
function asked(r, uri) {
    const v = r.variables;
    const parts = [r.uri, v.request_method, v.host, uri];
    r.rawHeadersIn.forEach((line) => {
        const name = line[0].toLowerCase();
        if (!irrelevant.test(name)) parts.push(name, line[1]);
    });
    return parts;
}

/** SHA-256 over the question, each part length-prefixed. */
function cacheKey(r) {
    return sha256(asked(r, r.variables.request_uri));
}
`;

const keep = `
function tokenOf(r) {
    return "token:" + sha256([r.headersIn.Authorization || ""]);
}

/** The session that the token names. Not verified: it only finds what was refused. */
function sessionOf(r) {
    try {
        const payload = (r.headersIn.Authorization || "").split(".")[1];
        return "session:" + JSON.parse(Buffer.from(payload, "base64url").toString()).sid;
    } catch (e) {
        return "session:";
    }
}

/** As cacheKey, without the query, at which no decision looks; a key that nobody has for what was refused here. */
function keptKey(r) {
    const refused = ngx.shared.wayleave_refused;
    if (refused.has(tokenOf(r)) || refused.has(sessionOf(r))) return "refused:" + r.variables.request_id;
    return sha256(asked(r, r.variables.request_uri.split("?")[0]));
}

/** Remembers which token and session Wayleave refused. An end is final; a suspended session may come back. */
function noted(r) {
    const v = r.variables;
    const session = v.upstream_http_x_wayleave_session;
    if (!session || v.upstream_cache_status === "STALE") return "";
    const refused = ngx.shared.wayleave_refused;
    const name = "session:" + session;
    const reason = v.upstream_http_x_wayleave_reason;
    if (v.upstream_http_x_wayleave_decision === "allow") {
        if (refused.get(name) === "session_suspended") refused.delete(name);
    } else if (reason === "credential_revoked") refused.set(tokenOf(r), reason);
    else if (/^session_/.test(reason) && refused.get(name) !== "session_ended") refused.set(name, reason);
    return "";
}
`;

/**
 * The njs module behind the keys of what NGINX caches. Everything that could change the answer is in a key: each header
 * except the few that no decision and no check of the dialect looks at. No token is ever in a file.
 */
export function njsModule(keeps: boolean): string {
  const names = keeps ? "cacheKey, keptKey, noted" : "cacheKey";
  return `${head}${keeps ? keep : ""}\nexport default { ${names} };\n`;
}
