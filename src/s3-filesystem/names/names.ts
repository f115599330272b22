/** The order in which S3 lists keys: by their UTF-8 bytes. JavaScript's own order differs above U+D7FF. */
export function compareKeys(a: string, b: string): number {
	const length = Math.min(a.length, b.length);
	for (let index = 0; index < length; index++) {
		const left = a.charCodeAt(index);
		const right = b.charCodeAt(index);
		if (left === right) continue;
		// A surrogate stands for a code point above every other unit's.
		const leftIsPair = left >= 0xd8_00 && left <= 0xdf_ff;
		const rightIsPair = right >= 0xd8_00 && right <= 0xdf_ff;
		if (leftIsPair !== rightIsPair) return leftIsPair ? 1 : -1;
		return left - right;
	}
	return a.length - b.length;
}

/** The last code point that is a character of UTF-8 and of XML. */
const highest = "\u{10FFFD}";

/** A key shortly before the given one: a listing that starts after it holds the key itself, if there is one. */
export function keyBefore(key: string): string {
	const last = key.codePointAt(key.length - 1 - (/[\uDC00-\uDFFF]$/.test(key) ? 1 : 0));
	if (last === undefined) return "";
	const rest = key.slice(0, key.length - (last > 0xff_ff ? 2 : 1));
	const before = last - 1 >= 0xd8_00 && last - 1 <= 0xdf_ff ? 0xd7_ff : last - 1;
	// Control characters are trouble in XML; the listing only starts a little earlier.
	return before < 0x20 ? rest : rest + String.fromCodePoint(before) + highest;
}

/** The last key below a prefix that a listing has grouped. */
export function endOfPrefix(prefix: string): string {
	return prefix + highest;
}

/** Whether a part of a key can be shown as a file's name. What cannot be shown is left out of listings. */
export function isName(part: string): boolean {
	return part !== "" && part !== "." && part !== ".." && !part.includes("\0") && Buffer.byteLength(part) <= 255;
}

/** S3 allows 1024 bytes. */
export function isKeyTooLong(key: string): boolean {
	return Buffer.byteLength(key) > 1024;
}
