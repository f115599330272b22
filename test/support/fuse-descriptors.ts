import { readdirSync, readlinkSync } from "node:fs";

/** Descriptors of /dev/fuse that this process holds. */
export function fuseDescriptors(): number {
	const links = readdirSync("/proc/self/fd").map((fd) => {
		try {
			return readlinkSync(`/proc/self/fd/${fd}`);
		} catch {
			// The one of the listing itself.
			return "";
		}
	});
	return links.filter((link) => link === "/dev/fuse").length;
}
