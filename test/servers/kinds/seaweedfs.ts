import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "../../support/listen.ts";
import { cachedBinaries } from "../../support/pod.ts";
import type { ServerKind } from "../server.ts";
import { installedVersion } from "../installed-version.ts";

const program = join(cachedBinaries, "weed");

export const seaweedfs: ServerKind = {
	name: "seaweedfs",
	title: "SeaweedFS",
	needs: [program],
	cannot: {
		"modes and times of directories": "it keeps no metadata of directories' objects",
		"a name with a backslash": "a backslash in a key is a slash to it",
	},
	version: async () => installedVersion("weed"),
	async start({ port, folder, keys, readerKeys, bucket, spawn }) {
		const data = join(folder, "data");
		await mkdir(data);
		const identity = (name: string, { accessKey, secretKey }: typeof keys, actions: readonly string[]) => ({
			name,
			credentials: [{ accessKey, secretKey }],
			actions,
		});
		const config = join(folder, "s3.json");
		const identities = [
			identity("all", keys, ["Admin", "Read", "List", "Tagging", "Write"]),
			identity("reader", readerKeys, [`Read:${bucket}`, `List:${bucket}`]),
		];
		await writeFile(config, JSON.stringify({ identities }));
		// Its servers listen at twice as many ports: those for gRPC are 10000 above unless they are given.
		const ports = await Promise.all(Array.from({ length: 7 }, async () => freePort()));
		const [master, masterGrpc, volume, volumeGrpc, filer, filerGrpc, s3Grpc] = ports;
		spawn(program, [
			"server",
			"-ip=127.0.0.1",
			"-ip.bind=127.0.0.1",
			`-dir=${data}`,
			"-filer",
			"-s3",
			`-s3.port=${port}`,
			`-s3.config=${config}`,
			`-s3.port.grpc=${s3Grpc}`,
			`-master.port=${master}`,
			`-master.port.grpc=${masterGrpc}`,
			`-volume.port=${volume}`,
			`-volume.port.grpc=${volumeGrpc}`,
			`-filer.port=${filer}`,
			`-filer.port.grpc=${filerGrpc}`,
			"-master.volumeSizeLimitMB=1024",
			"-volume.max=100",
			"-master.telemetry=false",
		]);
		return { reader: async () => readerKeys };
	},
};
