import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { cachedBinaries } from "../../support/pod.ts";
import type { ServerKind } from "../server.ts";
import { installedVersion } from "../installed-version.ts";

const program = join(cachedBinaries, "rclone-s3");

export const rclone: ServerKind = {
	name: "rclone",
	title: "rclone serve s3",
	needs: [program],
	cannot: {
		"odd names":
			"it takes one Unicode form of ü for the other where that is not there yet, and a program that wants a new file (cp) is told that it is there; not with its option --no-unicode-normalization",
		"modes and times of directories": "it keeps no metadata of directories' objects",
	},
	version: async () => installedVersion("rclone-s3"),
	async start({ port, folder, keys, spawn }) {
		const data = join(folder, "data");
		await mkdir(data);
		const key = `${keys.accessKey},${keys.secretKey}`;
		spawn(program, ["serve", "s3", "--addr", `127.0.0.1:${port}`, "--vfs-cache-mode", "off", "--auth-key", key, data]);
		return {};
	},
};
