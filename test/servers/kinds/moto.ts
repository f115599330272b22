import { join } from "node:path";
import { cachedBinaries } from "../../support/pod.ts";
import { firstMatch } from "../first-match.ts";
import type { ServerKind } from "../server.ts";

const folder = join(cachedBinaries, "../moto/bin");

/** A test server in Python that checks no signature. */
export const moto: ServerKind = {
	name: "moto",
	title: "moto",
	needs: [join(folder, "moto_server")],
	cannot: { "names with control characters": "it answers 404 to each request for a key with a line feed" },
	version: async () =>
		(await firstMatch(join(folder, "pip"), ["show", "moto"], /Version: \S+/)).replace("Version: ", ""),
	async start({ port, spawn }) {
		spawn(join(folder, "moto_server"), ["-H", "127.0.0.1", "-p", String(port)]);
		return {};
	},
};
