const pageBytes = 4096;

/** Content that shows of each page whose it is and where it belongs. */
export function stamped(sizeBytes: number, index: number): Buffer {
	const content = Buffer.alloc(sizeBytes, index);
	for (let at = 0; at + 4 <= sizeBytes; at += pageBytes) content.writeUInt32LE(at / pageBytes, at);
	return content;
}

/** `offset` is where the bytes are in the file. Looks at the whole pages. */
export function isStamped(bytes: Buffer, index: number, offset: number): boolean {
	for (let at = (pageBytes - (offset % pageBytes)) % pageBytes; at + pageBytes <= bytes.length; at += pageBytes) {
		const isRight = bytes.readUInt32LE(at) === (offset + at) / pageBytes && bytes[at + pageBytes - 1] === index;
		if (!isRight) return false;
	}
	return true;
}

/** Whose pages these are: one number if all are of the same content, `undefined` among them for a page that is not where it belongs. */
export function stampsIn(bytes: Uint8Array, offset: number): Set<number | undefined> {
	const content = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const found = new Set<number | undefined>();
	for (let at = (pageBytes - (offset % pageBytes)) % pageBytes; at + pageBytes <= content.length; at += pageBytes) {
		const page = content.subarray(at, at + pageBytes);
		const index = page[4];
		const isRight =
			index !== undefined && isStamped(page, index, offset + at) && page.subarray(4).every((byte) => byte === index);
		found.add(isRight ? index : undefined);
	}
	return found;
}
