import { readlink } from "node:fs/promises";
import { posix } from "node:path";
import { layersAt, readMountinfo } from "./mountinfo.ts";

/** So many the kernel follows, too. */
const maximumLinks = 40;

/**
 * Where a path leads through symbolic links, as mountinfo names it. What is not there yet stays as it is. Where something is mounted
 * nothing is touched: it is no link, and may hang.
 */
export async function realPath(path: string): Promise<string> {
	const entries = await readMountinfo();
	const left = partsOf(path);
	let links = 0;
	let real = "/";
	for (let part = left.shift(); part !== undefined; part = left.shift()) {
		const next = posix.join(real, part);
		const isMounted = layersAt(entries, next).length > 0;
		// Not a link, or not there: whoever needs the place says what is wrong with it.
		const link = isMounted || links === maximumLinks ? undefined : await readlink(next).catch(() => undefined);
		if (link === undefined) {
			real = next;
			continue;
		}
		links++;
		if (link.startsWith("/")) real = "/";
		left.unshift(...partsOf(link));
	}
	return real;
}

function partsOf(path: string): string[] {
	return path.split("/").filter((part) => part !== "");
}
