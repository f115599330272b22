import { LauncherError } from "../../errors.ts";
import { describe, type BucketLocation, type Credentials } from "../location.ts";

/** A fault that makes the credentials impossible to send, without showing them. Undefined if there is none. */
export function credentialsFault(location: BucketLocation): LauncherError | undefined {
	const { credentials } = location;
	if (credentials === undefined) return undefined;
	const where = describe(location);
	const hint = "Write the secret again, without quotes or a line break around it.";
	if (!isHeaderText(credentials.accessKeyId)) {
		const problem = "the access key is empty, or has white space or a character that no access key has";
		return new LauncherError("KEY_UNKNOWN", `${where}: ${problem}`, { hint });
	}
	if (credentials.sessionToken !== undefined && !isHeaderText(credentials.sessionToken)) {
		const problem = "the session token is empty, or has white space or a character that no token has";
		return new LauncherError("TOKEN_INVALID", `${where}: ${problem}`, { hint });
	}
	return undefined;
}

/** Why a signature may be wrong although the secret key looks right to whoever wrote it. */
export function secretKeyAdvice({ secretAccessKey }: Credentials): string | undefined {
	return secretAccessKey.trim() === secretAccessKey ? undefined : "It begins or ends with white space.";
}

/** Headers also allow more, but fail with a message that quotes the value. */
function isHeaderText(value: string): boolean {
	return /^[\u0021-\u007e]+$/.test(value);
}
