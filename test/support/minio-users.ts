import { createCipheriv, createHash, pbkdf2Sync, randomBytes } from "node:crypto";
import { signedHeaders } from "../../src/s3/sign.ts";
import type { Minio } from "./minio.ts";

export interface User {
	readonly accessKey: string;
	readonly secretKey: string;
}

/** Real users of a MinIO, through its admin interface: https://github.com/minio/minio/blob/master/cmd/admin-router.go */
export class MinioUsers {
	readonly #minio: Minio;
	#count = 0;

	constructor(minio: Minio) {
		this.#minio = minio;
	}

	/** One that may read and write everything. */
	async create(): Promise<User> {
		const user = {
			accessKey: `user-${++this.#count}-${randomBytes(6).toString("hex")}`,
			secretKey: randomBytes(15).toString("base64url"),
		};
		const body = encrypt(JSON.stringify({ secretKey: user.secretKey, status: "enabled" }), this.#minio.secretKey);
		await this.#ask("PUT", "add-user", { accessKey: user.accessKey }, body);
		const policy = { policyName: "readwrite", userOrGroup: user.accessKey, isGroup: "false" };
		await this.#ask("PUT", "set-user-or-group-policy", policy);
		return user;
	}

	async disable({ accessKey }: User): Promise<void> {
		await this.#ask("PUT", "set-user-status", { accessKey, status: "disabled" });
	}

	async remove({ accessKey }: User): Promise<void> {
		await this.#ask("DELETE", "remove-user", { accessKey });
	}

	async #ask(
		method: string,
		action: string,
		query: Record<string, string>,
		body: Buffer<ArrayBuffer> = Buffer.alloc(0),
	): Promise<void> {
		const { endpoint, accessKey, secretKey, region } = this.#minio;
		const url = new URL(`/minio/admin/v3/${action}?${new URLSearchParams(query).toString()}`, endpoint);
		url.searchParams.sort();
		const headers = signedHeaders(
			url,
			{},
			{
				method,
				region,
				credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
				now: new Date(),
				bodyHash: createHash("sha256").update(body).digest("hex"),
			},
		);
		const { host: _, ...sent } = headers;
		const answer = await fetch(url, { method, headers: sent, ...(body.length > 0 && { body }) });
		if (!answer.ok) throw new Error(`minio refused ${action}: ${answer.status} ${await answer.text()}`);
	}
}

/** As MinIO's madmin sends secrets: PBKDF2 and AES-256-GCM, one fragment of https://github.com/secure-io/sio-go. */
function encrypt(text: string, password: string): Buffer<ArrayBuffer> {
	const salt = randomBytes(32);
	const nonce = randomBytes(8);
	const key = pbkdf2Sync(password, salt, 8192, 32, "sha256");
	const seal = (sequence: number, associated: Buffer, plain: Buffer): Buffer => {
		const counter = Buffer.alloc(4);
		counter.writeUInt32LE(sequence);
		const cipher = createCipheriv("aes-256-gcm", key, Buffer.concat([nonce, counter]));
		cipher.setAAD(associated);
		return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
	};
	const isLast = Buffer.from([0x80]);
	const associated = Buffer.concat([isLast, seal(0, Buffer.alloc(0), Buffer.alloc(0))]);
	const pbkdf2AesGcm = Buffer.from([2]);
	return Buffer.concat([salt, pbkdf2AesGcm, nonce, seal(1, associated, Buffer.from(text))]);
}
