"""The HTTP server of llmcore: the documented REST API and an OpenAI-compatible one."""
