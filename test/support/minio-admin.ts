import { createCipheriv, createHash, pbkdf2Sync, randomBytes } from "node:crypto";
import { signedHeaders } from "../../src/s3/sign.ts";
import type { StaticCredentials } from "../../src/s3/object-store.ts";
import type { Minio } from "./minio.ts";

/** A user of a MinIO that may do everything, until it is disabled. */
export interface MinioUser {
	readonly credentials: StaticCredentials;
	readonly disable: () => Promise<void>;
	readonly enable: () => Promise<void>;
}

/** What `mc admin user add` does: https://min.io/docs/minio/linux/reference/minio-mc-admin/mc-admin-user.html */
export async function createUser(minio: Minio, name: string): Promise<MinioUser> {
	const secretAccessKey = randomBytes(20).toString("base64url");
	const user = JSON.stringify({ secretKey: secretAccessKey, status: "enabled" });
	await command(minio, "add-user", { accessKey: name }, encrypt(Buffer.from(user), minio.secretKey));
	await command(minio, "set-user-or-group-policy", { policyName: "readwrite", userOrGroup: name, isGroup: "false" });
	const set = async (status: string): Promise<void> => command(minio, "set-user-status", { accessKey: name, status });
	return {
		credentials: { accessKeyId: name, secretAccessKey },
		disable: async () => set("disabled"),
		enable: async () => set("enabled"),
	};
}

async function command(
	minio: Minio,
	path: string,
	query: Readonly<Record<string, string>>,
	body: Uint8Array<ArrayBuffer> = Buffer.alloc(0),
): Promise<void> {
	const url = new URL(`/minio/admin/v3/${path}?${new URLSearchParams(query).toString()}`, minio.endpoint);
	const { region, accessKey, secretKey } = minio;
	const headers = signedHeaders(
		url,
		{},
		{
			method: "PUT",
			region,
			credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
			now: new Date(),
			bodyHash: createHash("sha256").update(body).digest("hex"),
		},
	);
	const answer = await fetch(url, { method: "PUT", headers, body });
	if (!answer.ok) throw new Error(`minio refused ${path} with ${answer.status}: ${await answer.text()}`);
}

/**
 * How a secret has to be sent to the admin API: salt, the number of the cipher, nonce, and AES-256-GCM with a key derived from the password.
 * https://pkg.go.dev/github.com/minio/madmin-go/v3#EncryptData, whose first packet authenticates nothing, and whose second is the last.
 */
function encrypt(data: Buffer, password: string): Buffer<ArrayBuffer> {
	const [salt, nonce] = [randomBytes(32), randomBytes(8)];
	const key = pbkdf2Sync(password, salt, 8192, 32, "sha256");
	const seal = (packet: number, authenticated: Buffer, plain: Buffer): Buffer => {
		const number = Buffer.alloc(4);
		number.writeUInt32LE(packet);
		const cipher = createCipheriv("aes-256-gcm", key, Buffer.concat([nonce, number])).setAAD(authenticated);
		return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
	};
	const beginning = seal(0, Buffer.alloc(0), Buffer.alloc(0));
	const isLast = Buffer.from([0x80]);
	return Buffer.concat([salt, Buffer.from([0x02]), nonce, seal(1, Buffer.concat([isLast, beginning]), data)]);
}
