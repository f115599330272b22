/** What can give a pod keys of its own. */
export type ProviderName = "environment" | "profile" | "web identity" | "container" | "instance metadata";

export interface Candidate {
	readonly provider: ProviderName;
	/** It may have nothing to say, and the next one is asked then. */
	readonly isOptional: boolean;
}

/**
 * Whom to ask for the pod's identity, in the order that Amazon's SDKs have. What was configured is the identity: when it fails, that
 * is an error, and not a reason to go on as the node.
 */
export function candidatesFor(variables: NodeJS.ProcessEnv): readonly Candidate[] {
	const has = (name: string): boolean => isSet(variables[name]);
	if (has("AWS_PROFILE")) return [{ provider: "profile", isOptional: false }];
	if (has("AWS_ACCESS_KEY_ID") || has("AWS_SECRET_ACCESS_KEY")) return [{ provider: "environment", isOptional: false }];
	const profile: Candidate = { provider: "profile", isOptional: true };
	if (has("AWS_WEB_IDENTITY_TOKEN_FILE") && has("AWS_ROLE_ARN"))
		return [profile, { provider: "web identity", isOptional: false }];
	if (has("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") || has("AWS_CONTAINER_CREDENTIALS_FULL_URI"))
		return [profile, { provider: "container", isOptional: false }];
	const { AWS_EC2_METADATA_DISABLED: disabled } = variables;
	if (isSet(disabled) && disabled.toLowerCase() !== "false") return [profile];
	return [profile, { provider: "instance metadata", isOptional: false }];
}

/** An empty variable is how a manifest unsets one. */
export function isSet(value: string | undefined): value is string {
	return value !== undefined && value !== "";
}
