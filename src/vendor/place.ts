import { fileURLToPath } from "node:url";

/** Where in one of these files an error comes from: `/opt/fluid-fuse/drivers/rclone.ts:12`. */
export function placeIn(error: Error, isTheirs: (path: string) => boolean): string | undefined {
	for (const [, url = "", line = ""] of (error.stack ?? "").matchAll(/(file:\/\/[^\s?)]+?)(?:\?[^\s:)]*)?:(\d+)/g)) {
		const path = fileURLToPath(url);
		if (isTheirs(path)) return `${path}:${line}`;
	}
	return undefined;
}
