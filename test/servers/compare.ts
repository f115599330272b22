import { createHash } from "node:crypto";
import { bash } from "../fuse/application.ts";

interface Entry {
	readonly type: string;
	readonly attributes: string;
	readonly sum: string;
}

const md5 = (bytes: Uint8Array): string => createHash("md5").update(bytes).digest("hex");

/** What is in a folder by its path: kinds, modes and times, and a sum of the bytes. Read by other processes. */
export async function entriesOf(folder: string, limitMs: number): Promise<Map<string, Entry>> {
	const found = new Map<string, Entry>();
	const printed = await bash(
		folder,
		`find . -mindepth 1 -printf '%P\\0%y\\0%m %T@ %l\\0'; printf '\\0\\0\\0'; find . -type f -print0 | xargs -0r md5sum -z`,
		limitMs,
	);
	const [listed = "", summed = ""] = printed.split("\0\0\0");
	const sums = new Map(
		summed.split("\0").flatMap((line) => (line === "" ? [] : [[line.slice(36), line.slice(0, 32)] as const])),
	);
	const parts = listed.split("\0");
	for (let index = 0; index + 2 < parts.length; index += 3) {
		const [path = "", type = "", attributes = ""] = parts.slice(index, index + 3);
		// A link's own mode is nothing, and of times only the seconds are kept everywhere.
		const kept = type === "l" ? attributes.split(" ").slice(2).join(" ") : attributes.replace(/(\.\d+)? *$/, "");
		found.set(path, { type, attributes: kept, sum: sums.get(path) ?? "" });
	}
	return found;
}

export interface Wanted {
	readonly entries: ReadonlyMap<string, Entry>;
	readonly attributes: boolean;
	readonly notCompared: string | undefined;
}

/** What differs in another folder; empty: nothing. */
export async function differencesIn(folder: string, wanted: Wanted, limitMs: number): Promise<string[]> {
	const found = await entriesOf(folder, limitMs);
	const differences: string[] = [];
	for (const [path, { type, attributes, sum }] of wanted.entries) {
		if (isLeftOut(path, wanted)) continue;
		const other = found.get(path);
		if (other === undefined) differences.push(`${path} is missing`);
		else if (other.type !== type) differences.push(`${path} is of type ${other.type}`);
		else if (other.sum !== sum) differences.push(`${path} has other bytes`);
		// The times of folders in which something was made are nobody's promise.
		else if (wanted.attributes && (type !== "d" || path === "d") && other.attributes !== attributes)
			differences.push(`${path} has mode and time ${other.attributes}, not ${attributes}`);
	}
	for (const path of found.keys())
		if (!wanted.entries.has(path) && !isLeftOut(path, wanted)) differences.push(`${path} is too much`);
	return differences;
}

/** The same through a client of the server: the bytes of the files, and no others. */
export async function differencesOnServer(
	objects: { list(): Promise<string[]>; get(path: string): Promise<Uint8Array> },
	wanted: Wanted,
): Promise<string[]> {
	const differences: string[] = [];
	const isThere = async (path: string): Promise<boolean> =>
		objects.get(path).then(
			() => true,
			() => false,
		);
	const files = new Map([...wanted.entries].filter(([, { type }]) => type === "f"));
	const keys = new Set(await objects.list());
	const names = [...files].filter(([path]) => !isLeftOut(path, wanted));
	// Hundreds of one kind are looked at by name, and some by their bytes.
	const read = names.length > 100 ? names.filter((_, index) => index % 50 === 0) : names;
	const missing = new Set<string>();
	for (const [path] of names) {
		// Some names cannot be told in XML, or not by all, and their objects are there all the same.
		if (keys.has(path) || (missing.size < 50 && (await isThere(path)))) continue;
		missing.add(path);
		differences.push(`no object ${path}`);
	}
	for (const [path, { sum }] of read) {
		if (!missing.has(path) && md5(await objects.get(path)) !== sum)
			differences.push(`the object ${path} has other bytes`);
	}
	for (const key of keys) {
		const isKnown = wanted.entries.has(key.replace(/\/$/, "")) || key === "";
		if (!isKnown && !isLeftOut(key, wanted)) differences.push(`an object ${key} is too much`);
	}
	return differences;
}

function isLeftOut(path: string, { notCompared }: Wanted): boolean {
	return notCompared !== undefined && path.split("/").at(-1) === notCompared;
}
