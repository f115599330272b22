import { statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { PlannedMount } from "../config/plan.ts";
import type { UploadContext } from "../drivers/driver.ts";
import { errorKinds, LauncherError, toLauncherError } from "../errors.ts";
import { lookAtPending, type Pending } from "../filesystem-process/pending-folders.ts";
import type { PendingUpload } from "../filesystem-process/upload-pending.ts";
import { createLogger } from "../log.ts";
import { ConfigError } from "../options/faults.ts";
import { createIdentity } from "../s3/identity/identity.ts";
import { maskRotatingKeys } from "../secrets/mask-keys.ts";
import { createRedactor } from "../secrets/redact.ts";
import { planOf, type SourceFlags, type Surroundings } from "./check-source.ts";
import type { Output } from "./output.ts";
import { count, rows } from "./terminal.ts";

interface UploadFlags extends Omit<SourceFlags, "write"> {
	readonly json: boolean;
}

/** What became of one mount's files. Holds no secret. */
interface UploadedMount extends PendingUpload {
	/** JSON path: `mounts[0]`. */
	readonly path: string;
	readonly source: string;
	/** Why none of them could be uploaded. */
	readonly error?: LauncherError;
}

const nothing: PendingUpload = { uploaded: 0, left: [] };
const progressEveryMs = 5000;

/**
 * Uploads the closed files that processes which are gone have left in that `cache-dir`, for each mount of a config file, or each source. Returns
 * 0, the exit code of the first failure, 75 when files are left, or 130 when it is given up. Throws USAGE, CONFIG_MISSING and CONFIG_INVALID.
 */
export async function uploadPending(
	[given = "", ...words]: readonly string[],
	flags: UploadFlags,
	surroundings: Surroundings,
	output: Output,
): Promise<number> {
	const folder = resolve(given);
	if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true)
		throw new LauncherError("USAGE", `${folder} is not a folder that can be had`, {
			hint: "It is the cache-dir of the mount, as a folder of this container or machine.",
		});
	const { variables, signal } = surroundings;
	const redactor = createRedactor();
	const { plan } = await planOf(words, { ...flags, write: true }, surroundings, redactor);
	const print = (text: string): void => {
		if (!flags.json) output.out(redactor.redact(text));
	};
	const before = lookAtPending(join(folder, "pending"));
	print(renderFolder(folder, before));
	const mounts: UploadedMount[] = plan.refused.map(({ path, source, faults }) => {
		return { path, source, ...nothing, error: new ConfigError(faults, path) };
	});
	for (const mount of mounts) print(render(mount));
	const context = {
		variables,
		signal,
		redactor,
		identity: createIdentity(variables, { onRenewed: maskRotatingKeys(redactor) }),
		log: createLogger("warn", redactor, { write: (line) => output.err(line) }),
		onProgress: progressOn(output),
	};
	for (const planned of plan.mounts) {
		if (signal.aborted) break;
		const mount = await uploadOf(planned, folder, context);
		mounts.push(mount);
		print(render(mount));
	}
	const after = lookAtPending(join(folder, "pending"));
	const others = byMount(after);
	if (others.length > 0) print(`for other mounts, and not uploaded\n${rows(others)}`);
	const failure = mounts.find(({ error }) => error !== undefined)?.error;
	const isLeft = after.unreadable.length > 0 || mounts.some(({ left }) => left.length > 0);
	const ok = failure === undefined && !isLeft && !signal.aborted;
	print(ok ? "OK\n" : "FAILED\n");
	if (flags.json) {
		const shown = mounts.map(({ error, ...mount }) => ({ ...mount, ...(error !== undefined && factsOf(error)) }));
		const { inUse, unreadable } = after;
		const report = { ok, inUse, mounts: shown, unreadable, others: Object.fromEntries(others) };
		output.out(redactor.redact(`${JSON.stringify(report, undefined, 2)}\n`));
	}
	if (signal.aborted) return 130;
	return failure === undefined ? (isLeft ? 75 : 0) : errorKinds[failure.code].exitCode;
}

async function uploadOf(planned: PlannedMount, folder: string, context: UploadContext): Promise<UploadedMount> {
	const { path, source } = planned;
	try {
		const { mount } = await planned.prepare();
		return { path, source, ...((await mount.uploadPending?.(folder, context)) ?? nothing) };
	} catch (thrown) {
		if (context.signal.aborted) return { path, source, ...nothing };
		const error = toLauncherError(thrown);
		if (error.code === "INTERNAL") throw thrown;
		return { path, source, ...nothing, error };
	}
}

function progressOn(output: Output): UploadContext["onProgress"] {
	let toldAt = performance.now();
	return (uploaded, files) => {
		if (performance.now() - toldAt < progressEveryMs) return;
		toldAt = performance.now();
		output.err(`${uploaded} of ${count(files, "file")} uploaded\n`);
	};
}

function renderFolder(folder: string, { records, unreadable, inUse }: Pending): string {
	const lines: [string, string][] = [["pending", count(records.length, "file")]];
	if (inUse > 0) lines.push(["in use", `${count(inUse, "folder")} of processes that live and upload what is in there`]);
	for (const file of unreadable) lines.push(["UNREADABLE", file]);
	return `${folder}\n${rows(lines)}`;
}

function render({ path, source, uploaded, left, error }: UploadedMount): string {
	const lines: [string, string][] = [["uploaded", count(uploaded, "file")]];
	for (const { key, sizeBytes, why = "not tried, or not possible for now" } of left)
		lines.push(["LEFT", `${key}, ${sizeBytes === undefined ? "removed" : count(sizeBytes, "byte")}: ${why}`]);
	if (error !== undefined) {
		const { code, message, hint } = factsOf(error);
		lines.push(["FAILED", `${message}; ${code}${hint === undefined ? "" : `\n${hint}`}`]);
	}
	return `${path} ${source}\n${rows(lines)}`;
}

function factsOf({ code, message, hint }: LauncherError): Pick<LauncherError, "code" | "message" | "hint"> {
	return { code, message, hint };
}

/** Bucket and prefix, as they are written down, and how many files are pending for them. */
function byMount({ records }: Pending): [string, string][] {
	const files = Map.groupBy(records, ({ identity, prefix }) => `${identity}/${prefix}`.trim());
	return Array.from(files, ([mount, { length }]) => [mount, count(length, "file")]);
}
