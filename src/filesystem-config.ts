import * as z from "zod";

/** What the launcher tells the filesystem's process, on its standard input. */
const volume = z.strictObject({
	folder: z.string(),
	bucket: z.string(),
	prefix: z.string(),
	readOnly: z.boolean(),
	pathStyle: z.boolean(),
	endpoint: z.string().optional(),
	region: z.string().optional(),
	credentials: z.discriminatedUnion("kind", [
		z.strictObject({ kind: z.literal("anonymous") }),
		z.strictObject({ kind: z.literal("identity") }),
		z.strictObject({
			kind: z.literal("keys"),
			accessKeyId: z.string(),
			secretAccessKey: z.string(),
			sessionToken: z.string().optional(),
		}),
	]),
	caBundle: z.string().optional(),
	requesterPays: z.boolean().optional(),
	storageClass: z.string().optional(),
	acl: z.string().optional(),
	encryption: z
		.discriminatedUnion("kind", [
			z.strictObject({ kind: z.literal("s3") }),
			z.strictObject({ kind: z.literal("kms"), keyId: z.string().optional() }),
			/** In base64. */
			z.strictObject({ kind: z.literal("customer"), key: z.string() }),
		])
		.optional(),
	uid: z.number(),
	gid: z.number(),
	directoryMode: z.number(),
	fileMode: z.number(),
	attributes: z.enum(["listed", "all"]),
	ttlMs: z.number(),
	maximumRequests: z.number(),
	connectMs: z.number(),
	silenceMs: z.number(),
	retryForMs: z.number(),
});

export const filesystemConfig = z.strictObject({
	volumes: z.array(volume),
	memoryBytes: z.number().optional(),
	readAheadBytes: z.number(),
	stagingDirectory: z.string(),
	stagingLimitBytes: z.number().optional(),
	cache: z.strictObject({ directory: z.string(), limitBytes: z.number() }).optional(),
});

export type FilesystemConfig = z.input<typeof filesystemConfig>;
export type VolumeConfig = z.input<typeof volume>;
