import { join } from "node:path";
import { cachedBinaries } from "../../support/pod.ts";
import { installedVersion } from "../installed-version.ts";
import type { ServerKind } from "../server.ts";

const jar = join(cachedBinaries, "s3mock.jar");

/** A test server in Java that checks no signature. */
export const s3mock: ServerKind = {
	name: "s3mock",
	title: "S3Mock",
	needs: ["/usr/bin/java", jar],
	cannot: {
		"do not create what another has created meanwhile, a file of several parts":
			"it refuses to put the upload together, as it should, and deletes the object that is there when the upload is aborted",
		"a name with a backslash": "it answers 400 to each request for a key with a backslash",
	},
	version: async () => installedVersion("s3mock.jar"),
	async start({ port, folder, spawn }) {
		spawn("java", [
			"-Xmx1g",
			`-Djava.io.tmpdir=${folder}`,
			"-jar",
			jar,
			`--http.port=${port}`,
			// That of HTTPS, which it has in any case.
			"--server.port=0",
			"--com.adobe.testing.s3mock.max-payload-size=100MB",
		]);
		return {};
	},
};
