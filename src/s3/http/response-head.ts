/** What comes before the body of an HTTP/1.1 answer. */
export interface ResponseHead {
	readonly status: number;
	/** Names in lower case. Of a name that comes several times, the values are joined with commas. */
	readonly headers: ReadonlyMap<string, string>;
	/** How the body ends. */
	readonly framing: Framing;
	/** The server keeps the connection after this answer. */
	readonly keepsAlive: boolean;
}

export type Framing =
	| { readonly kind: "length"; readonly bytes: number }
	| { readonly kind: "chunked" }
	/** When the connection does. */
	| { readonly kind: "close" };

/** The other side does not speak the HTTP that it must for its answers to be told apart. */
export class ProtocolError extends Error {
	override readonly name = "ProtocolError";
	readonly code = "EPROTO";

	constructor(problem: string) {
		super(`not a valid HTTP answer: ${problem}`);
	}
}

const statusLine = /^HTTP\/1\.([01]) (\d{3})(?: |$)/;
const headerName = /^[\w!#$%&'*+.^`|~-]+$/;

/**
 * Parses the lines before the empty one, in Latin-1. Stricter than most: an answer whose end could be understood in two ways is
 * refused, since the rest of it would be taken for the next request's answer.
 */
export function parseResponseHead(text: string): ResponseHead {
	const lines = text.split("\r\n");
	const [, minor, status] = statusLine.exec(lines[0] ?? "") ?? [];
	if (status === undefined) throw new ProtocolError("no status line");
	const headers = new Map<string, string>();
	for (let index = 1; index < lines.length; index++) {
		const line = lines[index] ?? "";
		const colon = line.indexOf(":");
		const name = line.slice(0, colon).toLowerCase();
		if (colon <= 0 || !headerName.test(name)) throw new ProtocolError("a header without a name");
		const value = line.slice(colon + 1).trim();
		if (/[\r\n\0]/.test(value)) throw new ProtocolError("a line break inside of a header");
		const before = headers.get(name);
		if (before === undefined) headers.set(name, value);
		// A proxy may repeat it; two that differ are an attack or a bug.
		else if (name !== "content-length" || before !== value) headers.set(name, `${before}, ${value}`);
	}
	const connection = headers.get("connection")?.toLowerCase() ?? "";
	return {
		status: Number(status),
		headers,
		framing: framingOf(headers),
		keepsAlive: minor === "1" ? !connection.includes("close") : connection.includes("keep-alive"),
	};
}

function framingOf(headers: ReadonlyMap<string, string>): Framing {
	const encoding = headers.get("transfer-encoding")?.toLowerCase();
	const length = headers.get("content-length");
	if (encoding !== undefined) {
		if (encoding !== "chunked") throw new ProtocolError("an unknown transfer encoding");
		if (length !== undefined) throw new ProtocolError("both chunks and a length");
		return { kind: "chunked" };
	}
	if (length === undefined) return { kind: "close" };
	if (!/^\d{1,15}$/.test(length)) throw new ProtocolError("a length that is no number");
	return { kind: "length", bytes: Number(length) };
}
