import type { Environment } from "../config/environment.ts";
import { loadFluidFile, type LoadedFile } from "../config/load.ts";
import { ConfigError } from "../options/faults.ts";
import { planMounts } from "../config/plan.ts";
import { LauncherError, errorKinds } from "../errors.ts";
import { checkHost } from "../mounts/preflight.ts";
import { createRedactor } from "../secrets/redact.ts";
import { createIdentity } from "../s3/identity/identity.ts";
import { conformance, type ConformanceOutcome } from "../vendor/conformance.ts";
import type { LoadedDrivers } from "../vendor/load.ts";
import type { Output } from "./output.ts";
import { terminalText } from "./terminal.ts";

const marks = { passed: "ok", failed: "FAILED", skipped: "skipped" } as const;

/**
 * Plays the driver contract against a driver and the first mount of a config file. Returns 0, or 75 when a promise is broken.
 * Throws USAGE, CONFIG_MISSING and CONFIG_INVALID.
 */
export async function runConformance(
	[name = "", file]: readonly string[],
	variables: NodeJS.ProcessEnv,
	environment: Environment,
	{ drivers, faults }: LoadedDrivers,
	{ json }: { json: boolean },
	output: Output,
): Promise<number> {
	const driver = drivers.find((candidate) => candidate.name === name);
	if (driver === undefined) {
		const unusable = faults.map(({ message }) => `\n${message}`).join("");
		throw new LauncherError("USAGE", `no driver is called ${JSON.stringify(name)}${unusable}`, {
			hint: `There are ${drivers.map((one) => one.name).join(", ")}; FLUID_FUSE_DRIVERS_DIR is ${environment.FLUID_FUSE_DRIVERS_DIR}.`,
		});
	}
	await checkHost();
	const loaded = await loadFluidFile(file === undefined ? environment : { ...environment, FLUID_FUSE_CONFIG: file });
	const redactor = createRedactor();
	const first = async (readOnly: boolean) => {
		const plan = planMounts(onlyFirst(loaded, readOnly), {
			// The config's own choice of a driver is not what is asked about.
			environment: { ...environment, FLUID_FUSE_DRIVER: name },
			drivers: [driver],
			onSecret: (secret) => redactor.add(secret),
		});
		const [refused, mount] = [plan.refused[0], plan.mounts[0]];
		if (refused !== undefined) throw new ConfigError(refused.faults, refused.path);
		if (mount === undefined) throw new ConfigError([{ path: "mounts", message: "is empty" }], loaded.path);
		return { ...(await mount.prepare()), source: mount.source, readOnly: mount.readOnly };
	};
	const [asGiven, asReadOnly] = [await first(false), await first(true)];
	const results: { name: string; outcome: ConformanceOutcome }[] = [];
	const subject = {
		driver,
		source: asGiven.source,
		mount: asGiven.mount,
		readOnly: asGiven.readOnly,
		readOnlyMount: asReadOnly.mount,
		holdsSecret: (text: string) => redactor.redact(text) !== text,
		context: { signal: AbortSignal.timeout(600_000), variables, identity: createIdentity(variables) },
	};
	await conformance(subject, (promise, outcome) => {
		results.push({ name: promise, outcome });
		const reason = outcome.kind === "passed" ? "" : `: ${redactor.redact(outcome.reason)}`;
		if (!json) output.out(`${marks[outcome.kind].padEnd(8)} ${promise}${terminalText(reason)}\n`);
	});
	const ok = results.every(({ outcome }) => outcome.kind !== "failed");
	if (json) output.out(redactor.redact(`${JSON.stringify({ ok, driver: name, results }, undefined, 2)}\n`));
	else output.out(ok ? `\n${name} keeps the contract\n` : `\n${name} does not keep the contract\n`);
	return ok ? 0 : errorKinds.DRIVER_FAILED.exitCode;
}

function onlyFirst(loaded: LoadedFile, readOnly: boolean): LoadedFile {
	const mounts = loaded.file.mounts.slice(0, 1).map((mount) => ({ ...mount, readOnly: mount.readOnly || readOnly }));
	return { ...loaded, file: { ...loaded.file, mounts } };
}
