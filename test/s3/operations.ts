import type { ObjectStore } from "../../src/s3/object-store.ts";
import { bodyOf, MiB } from "./bucket.ts";

export const operationNames = [
	"list",
	"head",
	"get",
	"put",
	"delete",
	"deleteMany",
	"copy",
	"createMultipart",
	"uploadPart",
	"copyPart",
	"completeMultipart",
	"abortMultipart",
] as const;

export type OperationName = (typeof operationNames)[number];

/** A call of each operation. */
export function operationsOf(store: ObjectStore): Readonly<Record<OperationName, () => Promise<unknown>>> {
	const part = { partNumber: 1, etag: "x", crc32: undefined };
	const from = { key: "a", etag: "x", offset: 0, lengthBytes: 1 };
	return {
		list: async () => store.list({ prefix: "" }),
		head: async () => store.head("a"),
		get: async () => store.get("a", { offset: 0, into: Buffer.alloc(MiB), etag: "x", objectSizeBytes: 2 * MiB }),
		put: async () => store.put("a", bodyOf("content")),
		delete: async () => store.delete("a"),
		deleteMany: async () => store.deleteMany(["a", "b"]),
		copy: async () => store.copy("a", "b", { etag: "x", sizeBytes: 1, properties: { headers: {} } }),
		createMultipart: async () => store.createMultipart("a", {}),
		uploadPart: async () => store.uploadPart("a", "id", 1, bodyOf("content")),
		copyPart: async () => store.copyPart("a", "id", 1, from),
		completeMultipart: async () => store.completeMultipart("a", "id", [part]),
		abortMultipart: async () => store.abortMultipart("a", "id"),
	};
}
