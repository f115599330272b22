import { Secret } from "./secret.ts";
import type { Redactor } from "./redact.ts";
import type { StaticCredentials } from "../s3/object-store.ts";

/** Lines about requests that were signed with the keys before may still come. */
const generations = 2;

/** Masks keys that are exchanged again and again: the newest, and those before. */
export function maskRotatingKeys(redactor: Redactor): (keys: StaticCredentials) => void {
	const masked: (readonly Secret[])[] = [];
	return ({ accessKeyId, secretAccessKey, sessionToken }) => {
		const secrets = [new Secret(accessKeyId, "access-key"), new Secret(secretAccessKey, "secret-key")];
		if (sessionToken !== undefined) secrets.push(new Secret(sessionToken, "session-token"));
		for (const secret of secrets) redactor.add(secret);
		masked.push(secrets);
		if (masked.length > generations) for (const secret of masked.shift() ?? []) redactor.remove(secret);
	};
}
