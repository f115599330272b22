import * as z from "zod";
import { logLevels } from "../log.ts";
import { measured } from "./measures.ts";
import { tracedEvent } from "./traced-event.ts";

const logLevel = z.enum(logLevels);

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
		/** With what the environment says of it. */
		z.strictObject({ kind: z.literal("identity"), variables: z.record(z.string(), z.string()) }),
		z.strictObject({
			kind: z.literal("keys"),
			accessKeyId: z.string(),
			secretAccessKey: z.string(),
			sessionToken: z.string().optional(),
		}),
	]),
	/** Certificates, as PEM. */
	ca: z.string().optional(),
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
	contentTypes: z.boolean(),
	ttlMs: z.number(),
	/** Who closes a file waits for the node's disk only; for the bucket when what is pending has waited for so long. */
	writeBack: z.strictObject({ maximumAgeMs: z.number() }).optional(),
	maximumRequests: z.number(),
	connectMs: z.number(),
	silenceMs: z.number(),
	retryForMs: z.number(),
});

const mount = z.discriminatedUnion("kind", [
	/** The launcher has mounted it, and hands /dev/fuse down. */
	z.strictObject({ kind: z.literal("inherited") }),
	/** The same, and another process has served it before, which has written to this file what the kernel knows. */
	z.strictObject({ kind: z.literal("taken-over"), file: z.string() }),
	/** The same, and that process has died: what it has written down is in the journal's directory. */
	z.strictObject({
		kind: z.literal("continued"),
		/** Several have died by themselves: requests that were in their hands are refused. */
		refusesRepeated: z.boolean(),
	}),
	z.strictObject({
		kind: z.literal("libfuse"),
		target: z.string(),
		source: z.string(),
		subtype: z.string(),
		readOnly: z.boolean(),
		allowOther: z.boolean(),
	}),
]);

const filesystem = z.strictObject({
	mount,
	volumes: z.array(volume),
	logLevel: z.string(),
	memoryBytes: z.number().optional(),
	/** Beside the main one; 0: none. Default: as many as the processors are worth. */
	threads: z.number().optional(),
	readAheadBytes: z.number(),
	stagingDirectory: z.string(),
	stagingLimitBytes: z.number().optional(),
	/** The staging directory is one of those in which others look for what is pending. */
	keepsPending: z.boolean().optional(),
	/** Where those are, whether or not this process keeps anything there. */
	pendingDirectory: z.string().optional(),
	/** Where it writes down what the next process needs if this one dies. */
	journalDirectory: z.string().optional(),
	cache: z.strictObject({ directory: z.string(), limitBytes: z.number() }).optional(),
});

/** What the launcher tells the filesystem's process. */
export const order = z.discriminatedUnion("kind", [
	/** The first. */
	z.strictObject({ kind: z.literal("serve"), config: filesystem }),
	/** One more, other options of one that is there, or another bucket in its place. */
	z.strictObject({ kind: z.literal("put"), volume }),
	/** It gets time until its files are closed, first in sight and then out of it. */
	z.strictObject({
		kind: z.literal("remove"),
		folder: z.string(),
		departure: z.number(),
		visibleMs: z.number(),
		hiddenMs: z.number(),
	}),
	z.strictObject({ kind: z.literal("tune"), readAheadBytes: z.number() }),
	z.strictObject({ kind: z.literal("drain") }),
	/** Another process is to serve the mount: store what is written, answer what is under way, and write to this file what the kernel knows. */
	z.strictObject({ kind: z.literal("hand-over"), file: z.string(), storeMs: z.number(), quietMs: z.number() }),
	/** It does not serve it after all. */
	z.strictObject({ kind: z.literal("go-on") }),
	/** To be answered with stats. */
	z.strictObject({ kind: z.literal("measure") }),
	z.strictObject({ kind: z.literal("log-level"), level: logLevel }),
	/** To be answered with traced, until untrace. */
	z.strictObject({
		kind: z.literal("trace"),
		id: z.number(),
		folder: z.string().optional(),
		path: z.string().optional(),
		slowMs: z.number().optional(),
	}),
	z.strictObject({ kind: z.literal("untrace"), id: z.number() }),
	/** To be answered with pong at once, while anything is answered. */
	z.strictObject({ kind: z.literal("ping") }),
]);

/** What is wrong and does not keep it from serving. */
const trouble = z.strictObject({
	about: z.string(),
	/** For a person. */
	message: z.string(),
	/** RFC 3339, UTC. */
	since: z.string(),
});

/** What a server has refused, or failed to do for too long. */
const refusals = z.strictObject({
	/** How often, by the server's own code. */
	counts: z.record(z.string(), z.number()),
	last: z.strictObject({
		/** RFC 3339, UTC. */
		at: z.string(),
		operation: z.string(),
		code: z.string(),
		/** With the key, and the server's words. */
		message: z.string(),
		hint: z.string().optional(),
	}),
});

/** What a server lacks or does wrong, and what is done instead. */
const concession = z.strictObject({
	name: z.string(),
	/** For a person. */
	message: z.string(),
	/** RFC 3339, UTC. */
	since: z.string(),
	/** The answer that showed it, and to which request. */
	noticed: z.string(),
});

/** What the process tells the launcher. */
export const report = z.discriminatedUnion("kind", [
	z.strictObject({ kind: z.literal("pong") }),
	/** No more requests are taken; what waits for one gets the next. */
	z.strictObject({ kind: z.literal("pausing") }),
	/** Nothing is under way, and the kernel is not answered any more. */
	z.strictObject({ kind: z.literal("handed-over") }),
	/** It could not hand over, and serves on. */
	z.strictObject({ kind: z.literal("kept"), reason: z.string() }),
	/** From here on it answers the kernel where another process has left off. */
	z.strictObject({ kind: z.literal("taken-over") }),
	z.strictObject({
		kind: z.literal("stats"),
		stats: z.record(z.string(), z.number()),
		/** By folder; what is of no bucket is of the folder `""`. */
		volumes: z.record(z.string(), measured).optional(),
		/** Of the process. */
		shared: measured.optional(),
	}),
	/** Of those that were traced, so many more were left out. */
	z.strictObject({ kind: z.literal("traced"), id: z.number(), events: z.array(tracedEvent), lost: z.number() }),
	/** All that there is by now. */
	z.strictObject({ kind: z.literal("troubles"), troubles: z.array(trouble) }),
	/** All that there was of that folder's bucket by now. */
	z.strictObject({ kind: z.literal("refusals"), folder: z.string(), refusals }),
	/** All that are made by now for the server of that folder's bucket. */
	z.strictObject({ kind: z.literal("concessions"), folder: z.string(), concessions: z.array(concession) }),
	/** Of a folder that was to be removed: nothing can be opened in it any more. */
	z.strictObject({ kind: z.literal("hidden"), departure: z.number() }),
	/** Nothing is left of it; so many files were given up with changes that are in no bucket. */
	z.strictObject({ kind: z.literal("removed"), departure: z.number(), lostFiles: z.number() }),
]);

export type Order = z.input<typeof order>;
export type Report = z.input<typeof report>;
export type Refusals = z.input<typeof refusals>;
export type Concession = z.input<typeof concession>;
export type Trouble = z.input<typeof trouble>;
export type FilesystemConfig = z.input<typeof filesystem>;
export type VolumeConfig = z.input<typeof volume>;

/** Whether both show the same objects, so that one can become the other while files are open. */
export function showSameObjects(a: VolumeConfig, b: VolumeConfig): boolean {
	const shown = ({ bucket, prefix, endpoint, encryption }: VolumeConfig): string =>
		JSON.stringify([bucket, prefix, endpoint, encryption?.kind === "customer" ? encryption.key : undefined]);
	return shown(a) === shown(b);
}
