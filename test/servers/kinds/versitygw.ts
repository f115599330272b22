import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { cachedBinaries } from "../../support/pod.ts";
import type { ServerKind } from "../server.ts";
import { installedVersion } from "../installed-version.ts";

const program = join(cachedBinaries, "versitygw");

/** A gateway to a filesystem. */
export const versitygw: ServerKind = {
	name: "versitygw",
	title: "versitygw",
	needs: [program],
	everyChange: true,
	cannot: {
		"names with control characters":
			"its listings have U+FFFD for what XML cannot say, also where they are to be encoded like URLs",
	},
	version: async () => installedVersion("versitygw"),
	async start({ port, folder, keys, spawn }) {
		const data = join(folder, "data");
		await mkdir(data);
		spawn(program, ["--quiet", "--port", `127.0.0.1:${port}`, "posix", data], {
			ROOT_ACCESS_KEY: keys.accessKey,
			ROOT_SECRET_KEY: keys.secretKey,
		});
		return {};
	},
};
