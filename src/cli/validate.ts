import type { Environment } from "../config/environment.ts";
import { ConfigError, type Fault } from "../options/faults.ts";
import { unique, withFaultsOfMounts } from "../config/examine.ts";
import { loadFluidFile, type LoadedFile } from "../config/load.ts";
import type { PlannedOption } from "../config/inspect.ts";
import { planMounts, type Plan, type PlannedMount, type PlannedVolume } from "../config/plan.ts";
import { errorKinds } from "../errors.ts";
import { parseListenAddress } from "../probe/listen-address.ts";
import type { PlannedPlace } from "../config/tiered-store.ts";
import { createRedactor, type Redactor } from "../secrets/redact.ts";
import type { Secret } from "../secrets/secret.ts";
import type { LoadedDrivers } from "../vendor/load.ts";
import type { Output } from "./output.ts";
import { count, terminalText, rows } from "./terminal.ts";

/** What `--json` prints. Holds no secret. */
interface Report {
	readonly ok: boolean;
	readonly configFile: string;
	readonly targetPath?: string;
	readonly layout?: "root" | "named";
	/** Whether the mounts are folders of one mount at the target; otherwise each is a mount of its own. */
	readonly together?: boolean;
	readonly mounts: readonly ReportedMount[];
	readonly faults: readonly Fault[];
	/** What a mount waits for, such as secret files that are not there, and driver files that cannot be used. */
	readonly warnings: readonly Fault[];
}

interface ReportedMount {
	/** JSON path: `mounts[0]`. */
	readonly path: string;
	readonly name: string;
	readonly driver: string;
	readonly driverReason: string;
	readonly source: string;
	/** Of a pvc:// source. */
	readonly volume?: PlannedVolume;
	/** Places for a cache that the runtime gives; absent when there are none. */
	readonly tieredStore?: readonly PlannedPlace[];
	readonly target: string;
	readonly readOnly: boolean;
	readonly modeReason: string;
	/** What the config asks for and does not get, and why. */
	readonly withoutEffect?: string;
	readonly options: readonly PlannedOption[];
	/** The command line without its paths. */
	readonly command: readonly string[];
}

/**
 * Checks a config file as `run` does, and mounts nothing. Without `file`, the one that `run` would read. Returns 0, or
 * 78 with every fault. `redactor` is told of every secret. Throws CONFIG_MISSING.
 */
export async function validate(
	file: string | undefined,
	environment: Environment,
	loadedDrivers: LoadedDrivers,
	{ json }: { json: boolean },
	output: Output,
	redactor: Redactor = createRedactor(),
): Promise<number> {
	parseListenAddress(environment.FLUID_FUSE_PROBE_ADDRESS);
	const variables = file === undefined ? environment : { ...environment, FLUID_FUSE_CONFIG: file };
	const report = await check(variables, loadedDrivers, redactor);
	if (json) {
		output.out(redactor.redact(`${JSON.stringify(report, undefined, 2)}\n`));
	} else {
		output.out(redactor.redact(renderPlan(report)));
		output.err(redactor.redact(renderFaults(report)));
		if (report.ok) output.out("OK\n");
	}
	return report.ok ? 0 : errorKinds.CONFIG_INVALID.exitCode;
}

async function check(
	environment: Environment,
	{ drivers, faults: driverFileFaults }: LoadedDrivers,
	redactor: Redactor,
): Promise<Report> {
	const warnings: Fault[] = driverFileFaults.map(({ message }) => ({ path: "", message }));
	const onSecret = (secret: Secret): void => redactor.add(secret);
	const planOf = (file: LoadedFile): Plan => planMounts(file, { environment, drivers, driverFileFaults, onSecret });
	let loaded;
	try {
		loaded = await loadFluidFile(environment);
	} catch (thrown) {
		const error = await withFaultsOfMounts(thrown, planOf);
		if (!(error instanceof ConfigError)) throw error;
		return { ok: false, configFile: error.where, mounts: [], faults: error.faults, warnings };
	}
	const plan = planOf(loaded);
	const faults = plan.refused.flatMap((mount) => mount.faults);
	const mounts: ReportedMount[] = [];
	for (const mount of plan.mounts) {
		const inspected = await inspect(mount);
		if ("faults" in inspected) {
			faults.push(...inspected.faults);
			continue;
		}
		mounts.push(inspected.mount);
		for (const { path, error } of inspected.unread) {
			const hint = error.hint === undefined ? "" : ` ${error.hint}`;
			if (error.permanent) faults.push({ path, message: `${error.message}.${hint}` });
			else warnings.push({ path, message: `${error.message}: the mount waits for it.${hint}` });
		}
	}
	const { configFile, targetPath, layout, together } = plan;
	const ok = faults.length === 0;
	return { ok, configFile, targetPath, layout, together, mounts, faults: unique(faults), warnings };
}

async function inspect(mount: PlannedMount) {
	const { path, name, driver, driverReason, source, volume, tieredStore, target } = mount;
	const { readOnly, modeReason, withoutEffect } = mount;
	try {
		const { mount: prepared, options, unread } = await mount.inspect();
		const facts = {
			path,
			name,
			driver: driver.name,
			driverReason,
			source,
			...(volume !== undefined && { volume }),
			...(tieredStore.length > 0 && { tieredStore }),
			target,
			readOnly,
			modeReason,
			...(withoutEffect !== undefined && { withoutEffect }),
		};
		return { mount: { ...facts, options, command: prepared.summary }, unread };
	} catch (error) {
		if (!(error instanceof ConfigError)) throw error;
		return { faults: error.faults };
	}
}

function renderPlan({ ok, configFile, targetPath, layout, together = false, mounts }: Report): string {
	if (targetPath === undefined || layout === undefined) return "";
	const number = ok ? String(mounts.length) : `${mounts.length} without a fault`;
	const head = rows(
		[
			["config", configFile],
			["target", targetPath],
			["layout", layout],
			["mounts", together ? `${number}, as folders of one mount` : number],
		],
		"",
	);
	return [head, ...mounts.map(renderMount), ""].join("\n");
}

function renderMount({ path, name, options, command, volume, tieredStore, ...mount }: ReportedMount): string {
	const unused = [
		...(volume?.unused ?? []),
		...(tieredStore ?? []).flatMap((place) =>
			place.unused === undefined ? [] : [{ path: place.path, message: `${place.folder}: ${place.unused}` }],
		),
	];
	const facts = rows([
		["source", mount.source],
		...(volume === undefined ? [] : [["volume", `${volume.handle} of ${volume.driver}`] as const]),
		["target", mount.target],
		["driver", `${mount.driver} (${mount.driverReason})`],
		["mode", `${mount.readOnly ? "read-only" : "read-write"} (${mount.modeReason})`],
		...(mount.withoutEffect === undefined ? [] : [["no effect", mount.withoutEffect] as const]),
		...options.map((option) => ["option", `${option.name} = ${option.value}\n  from ${option.from}`] as const),
		...unused.map(({ path: from, message }) => ["unused", `${message}\n  from ${from}`] as const),
		["command", command.map(quoted).join(" ")],
	]);
	return `${path} ${terminalText(name)}\n${facts}`;
}

function quoted(word: string): string {
	return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

function renderFaults({ configFile, faults, warnings }: Report): string {
	const line = ({ path, message }: Fault): string => terminalText(path === "" ? message : `${path}: ${message}`);
	const waiting = warnings.map((warning) => `warning: ${line(warning)}\n`);
	if (faults.length === 0) return waiting.join("");
	const head = `${terminalText(configFile)}: ${count(faults.length, "fault")}\n`;
	return [...waiting, head, ...faults.map((fault) => `  ${line(fault)}\n`)].join("");
}
