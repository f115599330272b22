import { join } from "node:path";
import { cachedBinaries } from "../../support/pod.ts";
import type { ServerKind } from "../server.ts";
import { installedVersion } from "../installed-version.ts";

const program = join(cachedBinaries, "minio");

export const minio: ServerKind = {
	name: "minio",
	title: "MinIO",
	needs: [program],
	everyChange: true,
	version: async () => installedVersion("minio"),
	async start({ port, folder, keys, spawn }) {
		spawn(program, ["server", "--quiet", "--address", `127.0.0.1:${port}`, join(folder, "data")], {
			MINIO_ROOT_USER: keys.accessKey,
			MINIO_ROOT_PASSWORD: keys.secretKey,
			MINIO_BROWSER: "off",
			MINIO_UPDATE: "off",
		});
		return {};
	},
};
