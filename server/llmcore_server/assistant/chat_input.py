"""The body of ``/v1/chat/completions`` as a conversation."""

from __future__ import annotations

from llmcore_server.assistant.answer_form import read_format
from llmcore_server.assistant.conversation import (
    Conversation,
    read_choice,
    template_messages,
    template_tools,
    template_variables,
)
from llmcore_server.assistant.effort import effort_variables
from llmcore_server.assistant.legacy_functions import function_choice, function_tools, with_tool_messages
from llmcore_server.bodies.chat import ChatCompletionRequest


def chat_conversation(request: ChatCompletionRequest) -> Conversation:
    """Return what a request says as a conversation; raise `ApiError` for what cannot be served."""
    if request.functions:
        tools = function_tools(request.functions)
        choice = function_choice(request.function_call, tools)
    else:
        choice, tools = read_choice(request.tool_choice, template_tools(request.tools))
    return Conversation(
        messages=template_messages(with_tool_messages(request.messages)),
        tools=tools,
        choice=choice,
        # Clients that know functions know one call an answer.
        parallel_calls=request.parallel_tool_calls is not False and not request.functions,
        form=read_format(request.response_format, "response_format"),
        strict_names=frozenset(
            tool.function.name for tool in request.tools or () if tool.function and tool.function.strict
        ),
        variables={
            **effort_variables(request.reasoning_effort),
            **template_variables(request.chat_template_kwargs),
        },
    )
