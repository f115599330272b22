import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../log.ts";
import type { Redactor } from "../secrets/redact.ts";
import type { FilesystemConfig } from "./messages.ts";
import { isOf, lookAtPending, pendingIn, type PendingThere } from "./pending-folders.ts";
import { removeStagingFolder } from "./staging-folders.ts";
import { Tracing } from "./tracing.ts";
import { identityOf, ServedVolumes } from "./volumes.ts";

/** What became of closed files that processes had left on a disk. */
export interface PendingUpload {
	readonly uploaded: number;
	/** Their bytes stay on the disk. */
	readonly left: readonly LeftFile[];
}

interface LeftFile {
	readonly key: string;
	/** Undefined: it was removed, and is in the bucket still. */
	readonly sizeBytes: number | undefined;
	/** Undefined: it was not tried, or the log says it. */
	readonly why: string | undefined;
}

export interface UploadSurroundings {
	readonly variables: NodeJS.ProcessEnv;
	readonly log: Logger;
	readonly redactor: Redactor;
	readonly signal: AbortSignal;
	readonly onProgress: (uploaded: number, files: number) => void;
}

/** Whether there is anything to do. */
export function isPendingFor(config: FilesystemConfig): boolean {
	return recordsFor(config).length > 0;
}

/** What nobody has who lives. */
function recordsFor({ volumes, pendingDirectory = "" }: FilesystemConfig): PendingThere[] {
	const mounts = volumes.map((volume) => ({ identity: identityOf(volume), prefix: volume.prefix }));
	return lookAtPending(pendingDirectory).records.filter((record) => isOf(record, mounts));
}

/** Uploads what processes that are gone have left pending for these mounts, as the next process with that disk would: nothing is mounted. */
export async function uploadPending(
	config: FilesystemConfig,
	{ variables, log, redactor, signal, onProgress }: UploadSurroundings,
): Promise<PendingUpload> {
	const { stagingDirectory } = config;
	const tell = (): void => undefined;
	const surroundings = { variables, log, redactor, tell, tracing: new Tracing(tell), threads: undefined };
	const { filesystem } = new ServedVolumes(config, surroundings);
	const files = filesystem.pendingLeft()?.files ?? 0;
	let left = filesystem.pendingLeft();
	while (left !== undefined && !left.isStuck && !signal.aborted) {
		onProgress(files - left.files, files);
		await sleep(lookEveryMs);
		left = filesystem.pendingLeft();
	}
	await removeStagingFolder(stagingDirectory).catch(tell);
	// What could not be taken over, or gone on with, is left as well.
	const records = [...pendingIn(stagingDirectory).records, ...recordsFor(config)];
	return {
		uploaded: files - (left?.files ?? 0),
		left: records.map(({ key, sizeBytes }) => ({ key, sizeBytes, why: left?.failures.get(key) })),
	};
}

const lookEveryMs = 100;
