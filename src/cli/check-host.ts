import type { HostNeeds } from "../drivers/driver.ts";
import { LauncherError, toLauncherError } from "../errors.ts";
import { mountOf, readMountinfo, type MountEntry } from "../mounts/mountinfo.ts";
import { checkHost, findHostWarnings } from "../mounts/preflight.ts";
import { runBounded } from "../mounts/run.ts";
import { containerMemoryBytes } from "../s3-filesystem/reading/container-memory.ts";
import { failed, passed, warning, type Step } from "../s3/check/step.ts";

/** The pod that `run` would find. */
export interface Host {
	readonly targetPath: string;
	readonly runDirectory: string;
	readonly stopTimeoutMs: number;
	/** Of each mount. */
	readonly needs: readonly HostNeeds[];
}

/** Whether this container is one in which mounts can be made and kept. */
export async function hostSteps({ targetPath, runDirectory, stopTimeoutMs, needs }: Host): Promise<Step[]> {
	const entries = await readMountinfo();
	const disks = new Map(
		needs.flatMap(({ cache }) => (cache === undefined ? [] : [[cache.directory, cache.sizeBytes]])),
	);
	return [
		await fuseStep(),
		...(await podSteps(targetPath, runDirectory)),
		memoryStep(containerMemoryBytes(), Math.max(0, ...needs.map(({ memoryBytes = 0 }) => memoryBytes))),
		graceStep(stopTimeoutMs),
		...(await Promise.all(
			[...disks].map(async ([directory, sizeBytes]) =>
				diskStep(directory, sizeBytes, mountOf(entries, directory), await freeBytes(directory)),
			),
		)),
	];
}

async function fuseStep(): Promise<Step> {
	try {
		await checkHost();
		return passed("fuse", "/dev/fuse can be opened, and this container may mount");
	} catch (error) {
		return failed("fuse", toLauncherError(error));
	}
}

async function podSteps(targetPath: string, runDirectory: string): Promise<Step[]> {
	const warnings = await findHostWarnings(targetPath, runDirectory);
	if (warnings.length === 0) return [passed("pod", `mounts at ${targetPath} propagate, and ${runDirectory} is memory`)];
	return warnings.map(({ problem, hint }) => warning("pod", problem, `${hint[0]?.toUpperCase()}${hint.slice(1)}.`));
}

/** Kubernetes' own, which Fluid does not change for a ThinRuntime. */
const usualGraceMs = 30_000;

/** Pure: whether everything is unmounted before kubelet kills. */
export function graceStep(stopTimeoutMs: number): Step {
	const seconds = `${stopTimeoutMs / 1000} s`;
	if (stopTimeoutMs < usualGraceMs)
		return passed("grace", `everything is unmounted within ${seconds}, and kubelet waits for ${usualGraceMs / 1000} s`);
	return warning(
		"grace",
		`unmounting may take ${seconds}, and kubelet kills after ${usualGraceMs / 1000} s unless the pod says otherwise`,
		"Set FLUID_FUSE_STOP_TIMEOUT some seconds below the pod's terminationGracePeriodSeconds.",
	);
}

/** Pure: whether the budget leaves room for the programs themselves. */
export function memoryStep(limitBytes: number, budgetBytes: number): Step {
	const facts = `${gibibytes(limitBytes)} for the container${budgetBytes === 0 ? "" : `, ${gibibytes(budgetBytes)} of it for parts of objects`}`;
	if (budgetBytes <= limitBytes / 2) return passed("memory", facts);
	return warning(
		"memory",
		facts,
		"Give the container at least twice the option memory: its programs need some as well.",
	);
}

/** Pure. `freeBytes`: undefined when there is no such folder, or its disk does not answer. */
export function diskStep(
	directory: string,
	wantedBytes: number,
	mount: MountEntry | undefined,
	freeBytes: number | undefined,
): Step {
	const name = "cache";
	const hint = "Mount a disk of the node there: a hostPath or an emptyDir (examples/native).";
	if (mount?.readOnly === true)
		return failed(name, new LauncherError("FILE_UNREADABLE", `${directory} is on a read-only disk`, { hint }));
	if (freeBytes === undefined) return warning(name, `${directory} is not there, or does not answer`, hint);
	if (mount?.type === "tmpfs")
		return warning(name, `${directory} is memory, which counts for the container's limit`, hint);
	if (mount?.type === "overlay")
		return warning(name, `${directory} is on the container's own disk, which is lost at each start`, hint);
	const facts = `${gibibytes(freeBytes)} free in ${directory}, ${gibibytes(wantedBytes)} may be used`;
	// What is in the cache already is not free.
	return freeBytes * 2 < wantedBytes
		? warning(name, facts, "Set the option cache-size to what the disk has.")
		: passed(name, facts);
}

/** In a child, since a disk may hang. */
async function freeBytes(directory: string): Promise<number | undefined> {
	const outcome = await runBounded("stat", ["-f", "--format=%a %S", "--", directory], 5000);
	if (outcome.kind === "stuck" || outcome.exitCode !== 0) return undefined;
	const [blocks = 0, size = 0] = outcome.stdout.trim().split(" ").map(Number);
	return blocks * size;
}

function gibibytes(bytes: number): string {
	return `${(bytes / 1024 ** 3).toPrecision(2)} GiB`;
}
