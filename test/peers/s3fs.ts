import { readdir, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Outcome, Outcomes } from "./compare.ts";
import type { Suite } from "./suite.ts";

export const s3fs: Suite = {
	name: "s3fs",
	variable: "S3FS_TESTS",
	place: "folder test of s3fs-fuse, its programs built, with pjdfstest in it",
	async run(path, stage) {
		const { minio, folder } = stage;
		const bucket = "s3fs-integration-test";
		// Directories that are only implied have the mode that s3fs gives them.
		const pod = await stage.mount(bucket, { ttl: "0", "dir-mode": "0750" });
		// Tests are two folders below where they look for their programs.
		const above = dirname(pod.target);
		for (const name of await readdir(path)) await symlink(join(path, name), join(above, name));
		const { output } = await stage.run("bash", ["./integration-test-main.sh"], {
			cwd: path,
			env: {
				S3_URL: minio.endpoint,
				S3_ENDPOINT: minio.region,
				AWS_ACCESS_KEY_ID: minio.accessKey,
				AWS_SECRET_ACCESS_KEY: minio.secretKey,
				// Is not used over http, and curl refuses none.
				S3PROXY_CACERT_FILE: "/dev/null",
				TEST_BUCKET_1: bucket,
				TEST_BUCKET_MOUNT_POINT_1: pod.target,
				TEST_SCRIPT_DIR: path,
				// Its arguments say which options the tests are for: none.
				S3FS_PID: String(pod.pid),
				TMPDIR: folder,
				CACHE_DIR: folder,
				ENSURE_DISKFREE_SIZE: "10",
			},
		});
		return parseSummary(output);
	},
};

/** The end of what the suite printed; for what failed, the line before it said so. */
export function parseSummary(output: string): Outcomes {
	const outcomes = new Map<string, Outcome>();
	for (const [, verdict, name = ""] of output.matchAll(/^(PASS|FAIL): (test_\w+)$/gm)) {
		const said = new RegExp(`^(.+)\\n${name} failed$`, "m").exec(output)?.[1] ?? "failed";
		outcomes.set(name, verdict === "PASS" ? { kind: "passed" } : { kind: "failed", said });
	}
	return outcomes;
}
