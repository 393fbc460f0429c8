"""Spaces in frameworks that people already use, by the protocols of those frameworks."""

from fillgap.integrations.encoding import SpaceEncoder
from fillgap.integrations.frameworks import (
    LangChainEmbeddings,
    MTEBEncoder,
    haystack_document_aligner,
    haystack_query_aligner,
    llama_index_embedding,
)

__all__ = [
    "LangChainEmbeddings",
    "MTEBEncoder",
    "SpaceEncoder",
    "haystack_document_aligner",
    "haystack_query_aligner",
    "llama_index_embedding",
]
