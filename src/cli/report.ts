import { readdirSync, readFileSync } from "node:fs";
import { release, version as kernelVersion } from "node:os";
import { join } from "node:path";
import { environmentVariables, type Environment } from "../config/environment.ts";
import { parseMountOptions } from "../config/option-layers.ts";
import type { Driver } from "../drivers/driver.ts";
import { toLauncherError } from "../errors.ts";
import { readRegularFile } from "../named-file.ts";
import { requestLauncher } from "../probe/client.ts";
import { decoded } from "../s3/http/dialer.ts";
import { createRedactor, type Redactor } from "../secrets/redact.ts";
import { Secret } from "../secrets/secret.ts";
import type { LoadedDrivers } from "../vendor/load.ts";
import { version } from "../version.ts";
import { hostSteps } from "./check-host.ts";
import { namesOfSecrets } from "./option-words.ts";
import type { Output } from "./output.ts";
import { renderSteps } from "./step-lines.ts";
import { validate } from "./validate.ts";

interface Surroundings {
	readonly environment: Environment;
	readonly variables: NodeJS.ProcessEnv;
	readonly drivers: LoadedDrivers;
}

/**
 * Prints all that whoever looks into a fault asks for, without a secret: also what nobody can tell now, with the reason. Returns 0. Names of
 * buckets, endpoints and objects are in it.
 */
export async function report(surroundings: Surroundings, output: Output): Promise<number> {
	const {
		environment,
		variables,
		drivers: { drivers },
	} = surroundings;
	const redactor = createRedactor();
	maskVariables(variables, redactor);
	maskOptions(environment.MOUNT_OPTIONS, drivers, redactor);
	await maskFiles(environment.FLUID_FUSE_SECRETS_DIR, redactor);
	const ask = async (path: string): Promise<string> => {
		const answer = await requestLauncher(environment.FLUID_FUSE_RUN_DIR, path);
		return answer.kind === "answer" ? answer.body : `${answer.reason}\n`;
	};
	// First, since it may find secrets that stand in the config itself.
	const config = await configText(surroundings, redactor);
	const sections: readonly (readonly [title: string, text: string])[] = [
		["versions", versions()],
		["environment", variablesText(variables)],
		["config", config],
		["container", await containerText(environment)],
		["status", await ask("/status")],
		["metrics", await ask("/metrics")],
		["log", await ask("/log")],
		["mounts", fileText("/proc/self/mountinfo")],
		["limits", ["/proc/self/limits", ...cgroupFiles].map((file) => `${file}:\n${fileText(file)}`).join("\n")],
	];
	output.out(redactor.redact(sections.map(([title, text]) => `===== ${title}\n${text.trimEnd()}\n`).join("\n")));
	return 0;
}

const calledSecret = /key|secret|token|password|credential/i;

/** Keys of an identity, who is named in a URL and with which password, and whatever else is called like a secret. */
function maskVariables(variables: NodeJS.ProcessEnv, redactor: Redactor): void {
	for (const [name, value = ""] of Object.entries(variables)) {
		// Ours name folders and drivers.
		if (!name.startsWith("FLUID_FUSE_") && calledSecret.test(name)) redactor.add(new Secret(value, name));
		for (const [, login = ""] of value.matchAll(/:\/\/([^\s/,]*)@/g)) {
			const [username = "", ...password] = login.split(":");
			for (const part of [username, password.join(":")]) {
				redactor.add(new Secret(part, name));
				redactor.add(new Secret(decoded(part), name));
			}
		}
	}
}

/** Keys that a profile has as plain options, also where the config that they belong to cannot be read. */
function maskOptions(options: string | undefined, drivers: readonly Driver[], redactor: Redactor): void {
	const secretNames = namesOfSecrets(drivers);
	for (const [name, value] of parseMountOptions(options ?? "")) {
		// A driver that takes any option does not say which are secrets.
		if (secretNames.has(name) || calledSecret.test(name)) redactor.add(new Secret(value, name));
	}
}

/** Each file of each mounted Secret, cited by the config or not. */
async function maskFiles(secretsDirectory: string, redactor: Redactor): Promise<void> {
	let files: string[];
	try {
		files = readdirSync(secretsDirectory, { recursive: true, encoding: "utf8" });
	} catch {
		// There are none, or they may not be read, and then nobody here knows them.
		return;
	}
	for (const file of files) {
		try {
			const content = await readRegularFile(join(secretsDirectory, file));
			redactor.add(new Secret(content.toString().trimEnd(), file));
		} catch {
			// A folder, or nothing that a Secret can be, or gone again.
		}
	}
}

function versions(): string {
	const system = fileText("/etc/os-release").split("\n")[0] ?? "";
	return [
		`fluid-fuse ${version}`,
		`node ${process.version} ${process.arch}`,
		`kernel ${release()} ${kernelVersion()}`,
		`system ${system}`,
	].join("\n");
}

/** Those that the launcher reads; of others that matter only that they are there. */
function variablesText(variables: NodeJS.ProcessEnv): string {
	const names = Object.keys(variables).toSorted();
	const read = names.filter((name) => Object.hasOwn(environmentVariables, name));
	const there = names.filter((name) => /^AWS_|_proxy$/i.test(name));
	return [
		...read.map((name) => `${name}=${variables[name]}`),
		...there.map((name) => `${name} is set`),
		...(read.length + there.length === 0 ? ["nothing is set"] : []),
	].join("\n");
}

async function configText({ environment, drivers }: Surroundings, redactor: Redactor): Promise<string> {
	let text = "";
	const add = (more: string): void => void (text += more);
	try {
		await validate(undefined, environment, drivers, { json: false }, { out: add, err: add }, redactor);
	} catch (error) {
		add(toLauncherError(error).message);
	}
	return text;
}

async function containerText({
	MOUNT_POINT: targetPath,
	FLUID_FUSE_RUN_DIR: runDirectory,
	FLUID_FUSE_STOP_TIMEOUT: stopTimeoutMs,
}: Environment): Promise<string> {
	try {
		return renderSteps(await hostSteps({ targetPath: targetPath ?? "/", runDirectory, stopTimeoutMs, needs: [] }));
	} catch (error) {
		return toLauncherError(error).message;
	}
}

const cgroupFiles = ["memory.max", "memory.current", "memory.events", "cpu.max", "cpu.stat", "pids.max"].map((name) =>
	join("/sys/fs/cgroup", name),
);

function fileText(file: string): string {
	try {
		return readFileSync(file, "utf8");
	} catch (error) {
		return `not there (${(error as NodeJS.ErrnoException).code})\n`;
	}
}
