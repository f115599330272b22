import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { parseEnvironment, type Environment } from "../../src/config/environment.ts";
import { ConfigError, type Fault } from "../../src/options/faults.ts";
import { parseFluidFile } from "../../src/config/load.ts";
import type { Inspection } from "../../src/config/inspect.ts";
import { planMounts, type Plan } from "../../src/config/plan.ts";
import type { Secret } from "../../src/secrets/secret.ts";
import { drivers } from "../../src/drivers/index.ts";
import { projectRoot, writeAtomically } from "../support/pod.ts";

export const targetPath = "/runtime-mnt/thin/team-a/training/thin-fuse";

export interface MountOfFile {
	readonly [field: string]: unknown;
	readonly options?: Readonly<Record<string, unknown>>;
}

/** A config file with these mounts, as text. */
export function fileWith(mounts: readonly MountOfFile[], fields: Readonly<Record<string, unknown>> = {}): string {
	return JSON.stringify({ mounts, targetPath, accessModes: ["ReadOnlyMany"], ...fields });
}

export function fixture(name: string): string {
	return readFileSync(join(projectRoot, "test/fixtures/fluid", name), "utf8");
}

/** Plans a file's text with these variables. `onSecret` is told of every secret. */
export function planOf(
	text: string,
	variables: Readonly<Record<string, string>> = {},
	onSecret: (secret: Secret) => void = () => {},
): Plan {
	const environment: Environment = parseEnvironment(variables);
	return planMounts(parseFluidFile(text, "config.json", environment.MOUNT_POINT), { environment, drivers, onSecret });
}

/** Looks at the only mount of the file. Throws what keeps it from being mounted. */
export async function inspectOnly(
	text: string,
	variables?: Readonly<Record<string, string>>,
	onSecret?: (secret: Secret) => void,
): Promise<Inspection> {
	const { mounts, refused } = planOf(text, variables, onSecret);
	const [mount] = mounts;
	if (refused[0] !== undefined) throw new ConfigError(refused[0].faults, refused[0].path);
	if (mount === undefined) throw new Error("the file has no mount");
	return mount.inspect();
}

/** The options that the only mount of the file gets, by their own names. */
export async function optionsOf(text: string, variables?: Readonly<Record<string, string>>) {
	const { options } = await inspectOnly(text, variables);
	return Object.fromEntries(options.map(({ name, value }) => [name, value]));
}

/** Every fault of the file and its mounts, as `path: message`. */
export async function faultsOf(text: string, variables?: Readonly<Record<string, string>>): Promise<string[]> {
	const faults: Fault[] = [];
	try {
		const plan = planOf(text, variables);
		faults.push(...plan.refused.flatMap((mount) => mount.faults));
		for (const mount of plan.mounts) faults.push(...(await faultsOfMount(mount.inspect())));
	} catch (error) {
		if (!(error instanceof ConfigError)) throw error;
		faults.push(...error.faults);
	}
	return faults.map(({ path, message }) => `${path}: ${message}`);
}

async function faultsOfMount(inspection: Promise<Inspection>): Promise<readonly Fault[]> {
	try {
		await inspection;
		return [];
	} catch (error) {
		if (!(error instanceof ConfigError)) throw error;
		return error.faults;
	}
}

/** A folder that is gone after the test. */
export function temporaryFolder(): string {
	const folder = mkdtempSync(join(tmpdir(), "fluid-fuse-config-"));
	onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
	return folder;
}

/** Secrets as kubelet mounts them: secret to key to value. Returns FLUID_FUSE_SECRETS_DIR. */
export function secretsFolder(secrets: Readonly<Record<string, Readonly<Record<string, string>>>>): string {
	const folder = temporaryFolder();
	for (const [name, keys] of Object.entries(secrets)) writeAtomically(join(folder, name), keys);
	return folder;
}
