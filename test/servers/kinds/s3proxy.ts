import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cachedBinaries } from "../../support/pod.ts";
import { installedVersion } from "../installed-version.ts";
import type { ServerKind } from "../server.ts";

const jars = join(cachedBinaries, "../s3proxy");

/** A gateway to other stores, here to a filesystem. */
export const s3proxy: ServerKind = {
	name: "s3proxy",
	title: "s3proxy",
	needs: ["/usr/bin/java", jars],
	cannot: {
		"a name of 255 bytes": "it stores a file under its name and 37 bytes more, and answers 500 where that is too long",
	},
	version: async () => installedVersion("../s3proxy/s3proxy"),
	async start({ port, folder, keys, spawn }) {
		const data = join(folder, "data");
		await mkdir(data);
		const properties = join(folder, "s3proxy.conf");
		await writeFile(
			properties,
			`s3proxy.endpoint=http://127.0.0.1:${port}
s3proxy.authorization=aws-v2-or-v4
s3proxy.identity=${keys.accessKey}
s3proxy.credential=${keys.secretKey}
jclouds.provider=filesystem-nio2
jclouds.filesystem.basedir=${data}
`,
		);
		const logging = join(folder, "logback.xml");
		await writeFile(
			logging,
			`<configuration><appender name="out" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%m%n</pattern></encoder></appender>
<root level="warn"><appender-ref ref="out"/></root></configuration>`,
		);
		spawn("java", [
			"-Xmx1g",
			`-Dlogback.configurationFile=${logging}`,
			"-cp",
			`${jars}/*`,
			"org.gaul.s3proxy.Main",
			"--properties",
			properties,
		]);
		return {};
	},
};
