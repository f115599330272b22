import { GetObjectCommand, S3Client, S3ServiceException } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createUser } from "./minio-admin.ts";
import { startMinio, type Minio } from "./minio.ts";

let minio: Minio;
beforeAll(async () => {
	minio = await startMinio();
	await minio.createBucket("bucket");
	await minio.put("bucket", "key", "content");
});
afterAll(() => minio.stop());

test("a user may read until it is disabled, and when it is enabled again", async () => {
	const { credentials, disable, enable } = await createUser(minio, "somebody");
	const client = new S3Client({ endpoint: minio.endpoint, region: minio.region, forcePathStyle: true, credentials });
	const read = async (): Promise<number | undefined> => {
		try {
			return (await client.send(new GetObjectCommand({ Bucket: "bucket", Key: "key" }))).$metadata.httpStatusCode;
		} catch (error) {
			if (error instanceof S3ServiceException) return error.$metadata.httpStatusCode;
			throw error;
		}
	};
	expect(await read()).toBe(200);
	await disable();
	expect(await read()).toBe(403);
	await enable();
	expect(await read()).toBe(200);
	client.destroy();
});
