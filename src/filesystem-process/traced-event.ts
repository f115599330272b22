import * as z from "zod";

const request = z.strictObject({
	/** S3's. */
	operation: z.string(),
	key: z.string().optional(),
	/** The status, or the code of the error. */
	result: z.string(),
	ms: z.number(),
	receivedBytes: z.number(),
	sentBytes: z.number(),
});

/** An operation that was answered; `later`: requests that it caused and that ended after that. */
export const tracedEvent = z.strictObject({
	kind: z.enum(["operation", "later"]),
	/** When it began: RFC 3339, UTC. */
	at: z.string(),
	folder: z.string().optional(),
	operation: z.string(),
	/** In the mount; absent: it has no name any more. */
	path: z.string().optional(),
	/** Of a rename. */
	to: z.string().optional(),
	offset: z.number().optional(),
	sizeBytes: z.number().optional(),
	lengthBytes: z.number().optional(),
	mode: z.number().optional(),
	flags: z.number().optional(),
	/** Of who asked; 0: the kernel itself, or somebody whom this container cannot see. */
	pid: z.number().optional(),
	/** By its name in errno(3); absent: it succeeded. */
	error: z.string().optional(),
	/** That were read or written. */
	bytes: z.number().optional(),
	ms: z.number().optional(),
	requests: z.array(request),
	/** That are not among them. */
	moreRequests: z.number().optional(),
});

export type TracedRequest = z.output<typeof request>;
export type TracedEvent = z.output<typeof tracedEvent>;
