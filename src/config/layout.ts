import { posix } from "node:path";
import { shown, withoutPassword, type Fault } from "../options/faults.ts";
import type { FluidFile } from "./schema.ts";

export type Layout = "auto" | "root" | "named";

export interface Place {
	/** The mount's name in messages, status and metrics; unique. */
	readonly name: string;
	/** The same, safe as a directory's name. */
	readonly id: string;
	/** Absolute path where applications see it. */
	readonly target: string;
}

export interface Placement {
	readonly layout: "root" | "named";
	/** One for each mount of the file, in its order; undefined where a fault says why there is none. */
	readonly places: readonly (Place | undefined)[];
	readonly faults: readonly Fault[];
}

/** Decides where each mount goes. Faults are about names and paths that leave targetPath, or that two mounts share. */
export function placeMounts(mounts: FluidFile["mounts"], targetPath: string, wanted: Layout): Placement {
	const layout = wanted === "auto" ? (mounts.length > 1 ? "named" : "root") : wanted;
	if (layout === "root" && mounts.length > 1) {
		const message = `the layout "root" takes one mount, found ${mounts.length}; set FLUID_FUSE_LAYOUT to named`;
		return { layout, places: mounts.map(() => undefined), faults: [{ path: "mounts", message }] };
	}
	const faults: Fault[] = [];
	const names = new Map<string, number>();
	const targets = new Map<string, number>();
	const places = mounts.map((mount, index): Place | undefined => {
		const at = `mounts[${index}]`;
		const name = mount.name === "" ? nameFromSource(mount.mountPoint, index) : mount.name;
		const folder = mount.path === "" ? name : mount.path;
		const target = layout === "root" ? targetPath : below(targetPath, folder);
		if (target === undefined || (mount.name !== "" && !isSafeName(mount.name))) {
			const field = target === undefined && mount.path !== "" ? "path" : "name";
			faults.push({
				path: `${at}.${field}`,
				message: `${shown(field === "path" ? mount.path : name)} cannot be a folder below targetPath`,
			});
			return undefined;
		}
		for (const [seen, key, what] of [[names, name, "name"] as const, [targets, target, "folder"] as const]) {
			const other = seen.get(key);
			if (other !== undefined) {
				faults.push({
					path: at,
					message: `has the same ${what} as mounts[${other}], ${shown(key)}: give it a name or path of its own`,
				});
				return undefined;
			}
			seen.set(key, index);
		}
		return { name, id: directoryName(name), target };
	});
	return { layout, places, faults };
}

/** `targetPath` for "/" itself, a path below it, or undefined when the folder would leave it. */
function below(targetPath: string, folder: string): string | undefined {
	const parts = folder.split("/").filter((part) => part !== "");
	return parts.every(isSafeName) ? posix.join(targetPath, ...parts) : undefined;
}

// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const unsafe = /[/\u0000-\u001f\u007f]/;

function isSafeName(name: string): boolean {
	if (name === "." || name === "..") return false;
	return !unsafe.test(name) && Buffer.byteLength(name) <= 255 && name.isWellFormed();
}

/** The last part of the source, for a mount that has no name. */
function nameFromSource(source: string, index: number): string {
	const last = withoutPassword(source)
		.replace("…@", "")
		.split("/")
		.findLast((part) => part !== "" && !part.endsWith(":"));
	return last !== undefined && isSafeName(last) ? last : `mount-${index}`;
}

/** Every byte but a few becomes %XX, so that no name can be a path, be hidden, or be longer than a directory's may be. */
function directoryName(name: string): string {
	const encoded = [...Buffer.from(name)]
		.map((byte) => {
			const character = String.fromCharCode(byte);
			return /[A-Za-z0-9_-]/.test(character) ? character : `%${byte.toString(16).padStart(2, "0").toUpperCase()}`;
		})
		.join("");
	// Long names differ in their hash when they are cut.
	return encoded.length <= 120 ? encoded : `${encoded.slice(0, 100)}%${hash(name)}`;
}

/** FNV-1a: only to tell cut names apart. */
function hash(text: string): string {
	let value = 0x811c9dc5;
	for (const byte of Buffer.from(text)) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
	return value.toString(16).padStart(8, "0");
}
