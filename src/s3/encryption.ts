import { hash } from "node:crypto";
import type { RequestHeaders } from "./call.ts";
import type { ObjectStoreOptions } from "./object-store.ts";

/** The headers that encryption needs, by what a request does. https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html */
export interface EncryptionHeaders {
	/** Makes an object, or begins to. */
	readonly create: RequestHeaders;
	/** Reads one, or adds a part to it. */
	readonly access: RequestHeaders;
	/** Reads one to copy it. */
	readonly copySource: RequestHeaders;
}

export function encryptionHeaders(encryption: ObjectStoreOptions["encryption"]): EncryptionHeaders {
	switch (encryption?.kind) {
		case undefined:
			return { create: {}, access: {}, copySource: {} };
		case "s3":
			return { create: { "x-amz-server-side-encryption": "AES256" }, access: {}, copySource: {} };
		case "kms": {
			const { keyId } = encryption;
			const create = {
				"x-amz-server-side-encryption": "aws:kms",
				...(keyId !== undefined && { "x-amz-server-side-encryption-aws-kms-key-id": keyId }),
			};
			return { create, access: {}, copySource: {} };
		}
		case "customer": {
			const key = encryption.key.toString("base64");
			const keyMd5 = hash("md5", encryption.key, "base64");
			const access = customerHeaders("x-amz-server-side-encryption-customer", key, keyMd5);
			const copySource = customerHeaders("x-amz-copy-source-server-side-encryption-customer", key, keyMd5);
			return { create: access, access, copySource };
		}
		default:
			return encryption satisfies never;
	}
}

function customerHeaders(prefix: string, key: string, keyMd5: string): RequestHeaders {
	return { [`${prefix}-algorithm`]: "AES256", [`${prefix}-key`]: key, [`${prefix}-key-md5`]: keyMd5 };
}
