import { createHash } from "node:crypto";
import { etagOf, contentLengthOf } from "./answers.ts";
import { crc32Of, encodeCrc32 } from "./checksum.ts";
import type { RequestHeaders } from "./call.ts";
import type { Answer, SentBody } from "./http/connection.ts";
import type { UploadBody } from "./object-store.ts";

/** What proves on the other side that a body has arrived as it was sent; computed when it is first needed. */
export interface Integrity {
	headers(withChecksums: boolean): Promise<RequestHeaders>;
	/** Whether an object is this body. */
	isOf(answer: Answer): Promise<boolean>;
	/** The same by what is computed already, when the body may be another one by now. */
	wasOf(answer: Answer): Promise<boolean>;
}

export function createIntegrity(body: UploadBody): Integrity {
	let crc: Promise<string> | undefined;
	let md5: Promise<Buffer> | undefined;
	const crcText = async (): Promise<string> => {
		crc ??= body.crc32 === undefined ? crc32Of(body).then(encodeCrc32) : Promise.resolve(encodeCrc32(body.crc32));
		return crc;
	};
	const md5Sum = async (): Promise<Buffer> => {
		md5 ??= md5Of(body);
		return md5;
	};
	return {
		async headers(withChecksums) {
			if (withChecksums) return { "x-amz-checksum-crc32": await crcText() };
			return { "content-md5": (await md5Sum()).toString("base64") };
		},
		async isOf(answer) {
			if (contentLengthOf(answer) !== body.sizeBytes) return false;
			const found = answer.headers.get("x-amz-checksum-crc32");
			return found === undefined ? etagOf(answer) === (await md5Sum()).toString("hex") : found === (await crcText());
		},
		async wasOf(answer) {
			if (contentLengthOf(answer) !== body.sizeBytes) return false;
			const found = answer.headers.get("x-amz-checksum-crc32");
			if (found === undefined) return md5 !== undefined && etagOf(answer) === (await md5).toString("hex");
			return crc !== undefined && found === (await crc);
		},
	};
}

async function md5Of(body: SentBody): Promise<Buffer> {
	const sum = createHash("md5");
	for await (const piece of body.read()) sum.update(piece);
	return sum.digest();
}
