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
