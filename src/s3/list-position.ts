/** The last code point that is a character of UTF-8 and of XML. */
const highest = "\u{10FFFD}";

/** No server's token begins so, since XML cannot say it. */
const mark = "\0";

/** Where a listing goes on when the server says that there is more and not by which token: after the last key that it has named. */
export function tokenAfterLast(key: string | undefined, prefix: string | undefined): string | undefined {
	const end = prefix === undefined ? undefined : prefix + highest;
	if (key === undefined || end === undefined) return withMark(key ?? end);
	return withMark(Buffer.compare(Buffer.from(key), Buffer.from(end)) > 0 ? key : end);
}

/** The key, of such a token; undefined: it is the server's own. */
export function keyOfToken(token: string): string | undefined {
	return token.startsWith(mark) ? token.slice(mark.length) : undefined;
}

function withMark(key: string | undefined): string | undefined {
	return key === undefined ? undefined : mark + key;
}
