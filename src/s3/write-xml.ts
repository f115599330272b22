import type { UploadedPart } from "./object-store.ts";
import { encodeText } from "./xml.ts";

const namespace = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';

export function completionXml(parts: readonly UploadedPart[], withChecksums: boolean): Buffer {
	let xml = `<CompleteMultipartUpload ${namespace}>`;
	for (const { partNumber, etag, crc32 } of parts) {
		const checksum = withChecksums && crc32 !== undefined ? `<ChecksumCRC32>${encodeText(crc32)}</ChecksumCRC32>` : "";
		xml += `<Part><PartNumber>${partNumber}</PartNumber><ETag>&#34;${encodeText(etag)}&#34;</ETag>${checksum}</Part>`;
	}
	return Buffer.from(`${xml}</CompleteMultipartUpload>`);
}

export function deletionXml(keys: readonly string[], etags: ReadonlyMap<string, string>): Buffer {
	let xml = `<Delete ${namespace}><Quiet>true</Quiet>`;
	for (const key of keys) {
		const etag = etags.get(key);
		const condition = etag === undefined ? "" : `<ETag>&#34;${encodeText(etag)}&#34;</ETag>`;
		xml += `<Object><Key>${encodeText(key)}</Key>${condition}</Object>`;
	}
	return Buffer.from(`${xml}</Delete>`);
}
