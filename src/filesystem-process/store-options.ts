import type { CredentialsSource, ObjectStoreOptions } from "../s3/object-store.ts";
import type { Redactor } from "../secrets/redact.ts";
import { Secret } from "../secrets/secret.ts";
import type { VolumeConfig } from "./messages.ts";

export function addSecrets({ credentials, encryption }: VolumeConfig, redactor: Redactor): void {
	if (credentials.kind === "keys") {
		const { accessKeyId, secretAccessKey, sessionToken } = credentials;
		redactor.add(new Secret(accessKeyId, "access-key"));
		redactor.add(new Secret(secretAccessKey, "secret-key"));
		if (sessionToken !== undefined) redactor.add(new Secret(sessionToken, "session-token"));
	}
	if (encryption?.kind === "customer") redactor.add(new Secret(encryption.key, "sse-c"));
}

function encryptionOf({ encryption }: VolumeConfig): ObjectStoreOptions["encryption"] {
	switch (encryption?.kind) {
		case undefined:
			return undefined;
		case "s3":
			return { kind: "s3" };
		case "kms":
			return { kind: "kms", ...(encryption.keyId !== undefined && { keyId: encryption.keyId }) };
		case "customer":
			return { kind: "customer", key: Buffer.from(encryption.key, "base64") };
		default:
			return encryption satisfies never;
	}
}

export function storeOptions(
	volume: VolumeConfig,
	variables: NodeJS.ProcessEnv,
	credentials: CredentialsSource,
): ObjectStoreOptions {
	const { endpoint, region, bucket, pathStyle, ca, storageClass, acl, requesterPays } = volume;
	const encryption = encryptionOf(volume);
	return {
		endpoint: endpoint === undefined ? undefined : new URL(endpoint),
		region,
		bucket,
		pathStyle,
		credentials,
		...(ca !== undefined && { ca }),
		proxyEnv: variables,
		...(encryption !== undefined && { encryption }),
		...(storageClass !== undefined && { storageClass }),
		...(acl !== undefined && { acl }),
		...(requesterPays !== undefined && { requesterPays }),
		timeouts: { connectMs: volume.connectMs, firstByteMs: volume.silenceMs, idleMs: volume.silenceMs },
		retryForMs: volume.retryForMs,
		maximumRequests: volume.maximumRequests,
	};
}
