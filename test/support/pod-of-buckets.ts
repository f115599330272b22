import type { Minio } from "./minio.ts";
import { Pod } from "./pod.ts";

/** A pod, not started yet, in which each of these buckets is a folder, to be written. `endpoint`: where it finds them. */
export function createPodOf(buckets: readonly string[], minio: Minio, endpoint: string): Pod {
	const mounts = buckets.map((name) => ({
		mountPoint: `s3://${name}`,
		name,
		options: {
			endpoint,
			"access-key": "/etc/fluid/secrets/keys/access-key",
			"secret-key": "/etc/fluid/secrets/keys/secret-key",
		},
	}));
	return new Pod({
		mounts,
		secrets: { keys: { "access-key": minio.accessKey, "secret-key": minio.secretKey } },
		accessModes: ["ReadWriteMany"],
	});
}
