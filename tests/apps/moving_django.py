"""The pages of the shop in Django."""

import moving_pages as pages
from django.http import HttpResponse
from django.urls import path


def log_in(request):
    return HttpResponse(pages.log_in(request.session))


def who(request):
    return HttpResponse(pages.who(request.session))


urlpatterns = [path("login", log_in), path("who", who)]
