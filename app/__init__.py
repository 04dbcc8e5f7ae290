"""Embedded-tf"""
