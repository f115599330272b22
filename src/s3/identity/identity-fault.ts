import { LauncherError } from "../../errors.ts";
import { FileFault } from "../../named-file.ts";
import { isSet, type ProviderName } from "./identity-provider.ts";
import { printable } from "../printable.ts";

/** What keeps a provider from giving keys, for the person who can change that. Never quotes what the provider has read. */
export function identityFault(provider: ProviderName, thrown: unknown, variables: NodeJS.ProcessEnv): LauncherError {
	const { problem, isFinal } = judge(provider, thrown);
	const message = `the mount has no keys, and the pod's identity (${describeProvider(provider, variables)}) gives none: ${problem}`;
	return new LauncherError(isFinal ? "IDENTITY_MISSING" : "IDENTITY_UNAVAILABLE", message, {
		hint: hintFor(provider),
		cause: thrown,
	});
}

/** Nothing is configured that could give the pod keys. */
export function noIdentity(): LauncherError {
	return new LauncherError("IDENTITY_MISSING", "the mount has no keys, and the pod has no identity of its own", {
		hint: hintFor("instance metadata"),
	});
}

/** Keys that could not be used for a moment. */
export function expiredAlready(keys: { readonly provider: string; readonly expiresAt?: Date }): LauncherError {
	const time = keys.expiresAt?.toISOString() ?? "";
	const message = `the mount has no keys, and those of the pod's identity (${keys.provider}) expired at ${time}`;
	return new LauncherError("IDENTITY_UNAVAILABLE", message, {
		hint: "Compare the node's clock with the time: either it is wrong, or what gives the keys has stopped to renew them.",
	});
}

/** Which identity it is: names and paths, as the variables have them. */
export function describeProvider(provider: ProviderName, variables: NodeJS.ProcessEnv): string {
	const value = (name: string): string => printable(variables[name] ?? "", 200);
	switch (provider) {
		case "environment":
			return "AWS_ACCESS_KEY_ID";
		case "profile":
			return `the profile ${isSet(variables["AWS_PROFILE"]) ? value("AWS_PROFILE") : "default"}`;
		case "web identity":
			return `web identity, role ${value("AWS_ROLE_ARN")}`;
		case "container":
			return "the container's credentials endpoint";
		case "instance metadata":
			return "instance metadata";
		default:
			return provider satisfies never;
	}
}

function hintFor(provider: ProviderName): string {
	switch (provider) {
		case "environment":
			return "Set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the fuse container, or neither.";
		case "profile":
			return "Check AWS_PROFILE, and the files that AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE name.";
		case "web identity":
			return "Check the role in AWS_ROLE_ARN, that its trust policy names this service account, and that the cluster's token is in AWS_WEB_IDENTITY_TOKEN_FILE.";
		case "container":
			return "Check the pod identity association of the service account, and that its agent runs on this node.";
		case "instance metadata":
			return "Give the mount access-key and secret-key, or the pod's service account a role; or let pods reach the node's role: a role on the node, and a hop limit of 2 for its metadata.";
		default:
			return provider satisfies never;
	}
}

interface Judgement {
	readonly problem: string;
	/** It stays until somebody changes something. */
	readonly isFinal: boolean;
}

/** What the SDK's errors have, each some of it. */
interface SdkError extends Error {
	readonly code?: unknown;
	readonly path?: unknown;
	/** Of a service's answer. */
	readonly $metadata?: { readonly httpStatusCode?: number };
	/** Of the metadata's answer. */
	readonly statusCode?: unknown;
	readonly errors?: readonly SdkError[];
}

function judge(provider: ProviderName, thrown: unknown): Judgement {
	if (thrown instanceof FileFault) return { problem: printable(thrown.message, 200), isFinal: thrown.isFinal };
	if (!(thrown instanceof Error)) return { problem: "it fails", isFinal: false };
	const error: SdkError = thrown;
	const status = error.$metadata?.httpStatusCode;
	if (status !== undefined) {
		const words = `${printable(error.name, 64)} (${printable(error.message, 200)})`;
		return { problem: `STS says ${words}`, isFinal: status >= 400 && status < 500 && status !== 429 };
	}
	const code = codeOf(error);
	if (code === "ENOENT" || code === "EACCES" || code === "EISDIR") {
		const path = typeof error.path === "string" ? printable(error.path, 200) : "a file";
		return { problem: `${path} cannot be read (${code})`, isFinal: true };
	}
	// The parser's message quotes what it could not parse.
	if (error instanceof SyntaxError) return { problem: "an answer that is not JSON", isFinal: false };
	if (code?.startsWith("ERR_") === true) return { problem: `it fails (${code})`, isFinal: false };
	const problem = code === undefined ? printable(error.message.split("\n")[0] ?? "", 200) : `no connection (${code})`;
	if (provider === "environment" || provider === "profile") return { problem, isFinal: code === undefined };
	// Where nobody answers, there is no such service: it is asked when nothing else is configured.
	if (provider === "instance metadata") {
		const isFailing = typeof error.statusCode === "number" && error.statusCode >= 500;
		const answered = typeof error.statusCode === "number" ? `${problem} (status ${error.statusCode})` : problem;
		return { problem: answered, isFinal: !isFailing };
	}
	return { problem, isFinal: /status: 4\d\d/.test(error.message) };
}

function codeOf({ code, errors }: SdkError): string | undefined {
	const found = code ?? errors?.[0]?.code;
	return typeof found === "string" && /^[A-Z_0-9]{2,40}$/.test(found) ? found : undefined;
}
