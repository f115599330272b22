import { posix } from "node:path";
import { LauncherError } from "../errors.ts";
import { FileFault, readRegularFile } from "../named-file.ts";
import { realPath } from "../mounts/real-path.ts";
import type { Environment } from "./environment.ts";
import { accessModes, fluidFile, type FluidFile } from "./schema.ts";
import { below, ConfigError, didYouMean, shown, type Fault } from "../options/faults.ts";

/** Where Fluid puts the file: since 1.0.1 a directory that is updated live, before that a single file. */
const fluidPlaces = ["/etc/fluid/config/config.json", "/etc/fluid/config.json"];

export interface LoadedFile {
	readonly path: string;
	readonly file: FluidFile;
	/** Always absolute, from the file or from MOUNT_POINT; loaded, without symbolic links. */
	readonly targetPath: string;
}

/** Faults of the file as a whole. */
export class FluidFileError extends ConfigError {
	/** What the mounts can still be looked at by, with something that stands in for what is wrong; undefined: not at all. */
	readonly rest: LoadedFile | undefined;

	constructor(faults: readonly Fault[], where: string, rest?: LoadedFile) {
		super(faults, where);
		this.rest = rest;
	}
}

/** Finds and reads Fluid's config file. Throws CONFIG_MISSING, or CONFIG_INVALID with all faults at once. */
export async function loadFluidFile(environment: Environment): Promise<LoadedFile> {
	const places = environment.FLUID_FUSE_CONFIG ?? environment.FLUID_RUNTIME_CONFIG_PATH ?? fluidPlaces;
	for (const path of [places].flat()) {
		const text = await readText(path);
		if (text === undefined) continue;
		const loaded = parseFluidFile(text, path, environment.MOUNT_POINT);
		// The kernel knows mounts by where they really are.
		return { ...loaded, targetPath: await realPath(loaded.targetPath) };
	}
	throw new LauncherError("CONFIG_MISSING", `no config file at ${[places].flat().join(" or ")}`, {
		hint: "Fluid mounts it into the pod of a ThinRuntime; elsewhere set FLUID_FUSE_CONFIG.",
	});
}

async function readText(path: string): Promise<string | undefined> {
	try {
		return new TextDecoder("utf-8", { fatal: true }).decode(await readRegularFile(path));
	} catch (error) {
		if (error instanceof FileFault) throw new ConfigError([{ path: "", message: error.message }], path);
		if (error instanceof TypeError) throw new ConfigError([{ path: "", message: "not UTF-8 text" }], path);
		const { code } = error as NodeJS.ErrnoException;
		if (code === "ENOENT" || code === "ENOTDIR") return undefined;
		throw new LauncherError("CONFIG_MISSING", `cannot read ${path}: ${code}`, { cause: error });
	}
}

/** Parses the whole text, never only its first line. `where` names the file in messages. */
export function parseFluidFile(text: string, where: string, mountPoint?: string): LoadedFile {
	let json: unknown;
	try {
		json = JSON.parse(text);
	} catch (error) {
		throw new ConfigError([{ path: "", message: jsonFault(text, error) }], where);
	}
	const parsed = fluidFile.safeParse(json, { reportInput: true });
	const faults: Fault[] = (parsed.error?.issues ?? []).map((issue) => ({
		path: issue.path.reduce<string>((path, key) => below(path, key), ""),
		message: explain(issue),
	}));
	// Looked at even when something else is wrong, so that all faults come at once.
	const targetPath = fluidFile.shape.targetPath.safeParse(Object(json).targetPath).data ?? mountPoint;
	if (!faults.some(({ path }) => path === "" || path === "targetPath")) faults.push(...targetFaults(targetPath));
	if (parsed.data === undefined || targetPath === undefined || faults.length > 0) {
		const file = parsed.data ?? withoutFields(json, parsed.error.issues);
		throw new FluidFileError(faults, where, file && { path: where, file, targetPath: noPlace });
	}
	return { path: where, file: parsed.data, targetPath: posix.normalize(targetPath).replace(/\/$/, "") };
}

/** Nothing can be in it. */
const noPlace = "/dev/null/targetPath";

/** The file without those of its fields that have faults; undefined: it is no use without them. */
function withoutFields(json: unknown, issues: readonly Issue[]): FluidFile | undefined {
	const faulty = new Set(issues.map(({ path: [field] }) => field));
	if (faulty.has(undefined) || faulty.has("mounts")) return undefined;
	return fluidFile.safeParse(Object.fromEntries(Object.entries(Object(json)).filter(([field]) => !faulty.has(field))))
		.data;
}

type Issue = NonNullable<ReturnType<typeof fluidFile.safeParse>["error"]>["issues"][number];

function explain(issue: Issue): string {
	if (issue.code === "invalid_value") {
		const { input } = issue;
		const found = typeof input === "string" ? `${shown(input)}${didYouMean(input, accessModes)}` : kind(input);
		return `expected one of ${issue.values.join(", ")}, found ${found}`;
	}
	if (issue.code === "invalid_type") {
		return issue.input === undefined
			? `missing, expected ${issue.expected}`
			: `expected ${issue.expected}, found ${kind(issue.input)}`;
	}
	if (issue.code === "too_small") return "must not be empty";
	return issue.message;
}

/** The kind, never the value: this may be a secret at the wrong place. */
function kind(value: unknown): string {
	if (value === null) return "null";
	if (Array.isArray(value)) return "an array";
	return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** Names the place of a JSON error without quoting the text there, which may be a secret. */
function jsonFault(text: string, error: unknown): string {
	if (text.trim() === "") return "the file is empty";
	const position = /at position (\d+)/.exec(error instanceof Error ? error.message : "")?.[1];
	if (position === undefined) return "not valid JSON (it may be half-written)";
	const before = text.slice(0, Number(position));
	const line = before.split("\n").length;
	const column = before.length - before.lastIndexOf("\n");
	return `not valid JSON: line ${line}, column ${column}`;
}

function targetFaults(targetPath: string | undefined): Fault[] {
	if (targetPath === undefined) return [{ path: "targetPath", message: "missing, and MOUNT_POINT is not set" }];
	const path = "targetPath";
	if (!targetPath.startsWith("/")) return [{ path, message: `expected an absolute path, found ${shown(targetPath)}` }];
	if (targetPath.split("/").some((part) => part === ".." || part === "."))
		return [{ path, message: "must not contain . or .." }];
	// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
	if (/[\u0000-\u001f\u007f]/.test(targetPath)) return [{ path, message: "must not contain control characters" }];
	if (/^\/*$/.test(targetPath)) return [{ path, message: "must not be the root of the filesystem" }];
	return [];
}
